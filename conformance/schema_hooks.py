"""Loaded by schemathesis when schema.py runs it: most good requests become ones that can succeed, or nearly all answers
would be about names that do not exist. Requests that are meant to be wrong stay as they were made up."""

import itertools
from copy import deepcopy

import schemathesis
from schemathesis.core.parameters import ParameterLocation

# What schema.py made before, by path parameter. `spare` is what DELETE gets, or nothing would be left for other calls.
MADE = {"account_id": ["default", "resting"], "dataset_id": ["support", "requests", "empty"], "model_id": ["smollm2-135m-instruct", "tone"],
        "supervised_fine_tuning_job_id": ["first"], "user_id": ["dev"], "batch_inference_job_id": ["first"],
        "dataset_validation_job_id": ["first"], "deployment_id": ["local"], "secret_id": ["bucket"],
        "model": ["accounts/fireworks/models/smollm2-135m-instruct"]}
# One in so many keeps its made-up names.
MADE_UP = 5
numbers = itertools.count()


@schemathesis.hook
def before_call(context, case, kwargs):
    meta = case.meta
    if meta is None or case.operation.method.upper() != case.method.upper():
        return
    number = next(numbers)
    definition = case.operation.definition.raw
    if meta.phase.name.value == "stateful":
        # Names come from what was made before in the same series.
        fill(case, definition)
        if list(case.path_parameters or {}) == ["account_id"]:
            case.path_parameters["account_id"] = account(case)
        new_names(case, definition, number)
        return
    if number % MADE_UP and case.path_parameters and not meta.is_negative_at(ParameterLocation.PATH):
        for name in case.path_parameters:
            case.path_parameters[name] = existing(name, case, number)
    # Half of the good bodies stay made up.
    if number % 2:
        fill(case, definition)


def account(case):
    """The one that has everything must not be suspended, or most calls after that would be refused."""
    return "resting" if case.operation.path.endswith(":suspend") else "default"


def existing(name, case, number):
    if name not in MADE:
        return case.path_parameters[name]
    if name == "account_id":
        return account(case)
    if case.method.upper() == "DELETE":
        return "spare"
    return MADE[name][number % len(MADE[name])]


def fill(case, definition):
    """Sends the example of the document."""
    content = definition.get("requestBody", {}).get("content", {}).get("application/json", {})
    if "example" in content and not case.meta.is_negative_at(ParameterLocation.BODY):
        case.body = deepcopy(content["example"])


def new_names(case, definition, number):
    """Gives what is made a name that the document's links find again."""
    for link in definition.get("responses", {}).get("200", {}).get("links", {}).values():
        for source in link.get("parameters", {}).values():
            kind, _, name = source.replace("#/", ".").removeprefix("$request.").partition(".")
            if kind == "query" and not case.meta.is_negative_at(ParameterLocation.QUERY):
                case.query = dict(case.query or {}) | {name: f"made-{number}"}
            elif kind == "body" and isinstance(case.body, dict):
                case.body[name] = f"made-{number}"
