"""Answers of a given form, and calls of tools: openai 3.54.0 and fireworks-ai 1.2.30 (strict), with their clients and
their async clients, whole and streamed, over the real model."""

import asyncio
import json
import re
from typing import Literal

import fireworks
import openai
from harness import BASE, BASE_NAME, link_base, server
from pydantic import BaseModel, ConfigDict, Field

TOOLS_NAME, ARGS_NAME = (f"accounts/fireworks/models/{BASE}-{form}" for form in ("tools", "args"))
# ChatML with tools, and with calls in the form of Hermes and in Mistral's.
TEMPLATE = """\
{% if tools %}<|im_start|>system
You can call: {{ tools | tojson }}<|im_end|>
{% endif %}{% for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}{% for call in message.tool_calls or [] %}CALL{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
TAGS = '<tool_call>\n{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}\n</tool_call>'
ARGS = "[TOOL_CALLS]{{ call.function.name }}[ARGS]{{ call.function.arguments | tojson }}"


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Town(Strict):
    name: str = Field(max_length=8)
    size: Literal["small", "large"]


class Person(Strict):
    age: int = Field(ge=0, le=120)
    home: Town | None
    colours: list[Literal["red", "green"]] = Field(min_length=1, max_length=2)


class Weather(Strict):
    city: str = Field(max_length=6)
    days: int = Field(ge=1, le=9)


def chat(model=BASE_NAME, **more):
    messages = [{"role": "user", "content": "Who lives next door? Answer in JSON."}]
    return {"model": model, "messages": messages, "max_tokens": 96, "temperature": 0} | more


def tool(name, model):
    return {"type": "function", "function": {"name": name, "description": f"Tells the {name}.",
                                             "parameters": model.model_json_schema()}}


TOOLS = [tool("weather", Weather), tool("town", Town)]


class Client:
    """One face for all four clients."""

    def __init__(self, client, package, loop=None):
        self.client, self.package, self.loop = client, package, loop

    def wait(self, result):
        return result if self.loop is None else self.loop.run_until_complete(result)

    async def collect(self, stream):
        return [chunk async for chunk in stream]

    def ask(self, create, request):
        """The choices as (text, calls, why it ended), which must be the same whole and streamed."""
        answer = self.wait(create(**request))
        whole = [(getattr(choice, "text", None) or (choice.message.content if hasattr(choice, "message") else ""),
                  [(call.function.name, call.function.arguments, call.id) for call in calls_of(choice)],
                  choice.finish_reason) for choice in answer.choices]
        stream = self.wait(create(**request, stream=True))
        chunks = list(stream) if self.loop is None else self.wait(self.collect(stream))
        streamed = joined(chunks, len(whole))
        bare = [[(text or "", [call[:2] for call in calls], end) for text, calls, end in form]
                for form in (whole, streamed)]
        assert bare[0] == bare[1], bare
        for form in (whole, streamed):
            ids = [call[2] for _, calls, _ in form for call in calls]
            assert all(ids) and len(set(ids)) == len(ids), ids
        return bare[0], answer

    def chat(self, **request):
        return self.ask(self.client.chat.completions.create, request)

    def refused(self, **request):
        try:
            self.wait(self.client.chat.completions.create(**request))
        except self.package.BadRequestError as error:
            # One package takes the body's `error` out of it.
            return error.body.get("error", error.body)
        raise AssertionError(f"it was not refused: {request}")


def calls_of(choice):
    return (getattr(choice, "message", None) and choice.message.tool_calls) or []


def joined(chunks, count):
    texts, calls, ends = [""] * count, [[] for _ in range(count)], [None] * count
    for choice in (choice for chunk in chunks for choice in chunk.choices):
        at = choice.index
        assert ends[at] is None, chunks
        ends[at] = choice.finish_reason
        if hasattr(choice, "text"):
            texts[at] += choice.text
            continue
        texts[at] += choice.delta.content or ""
        for part in choice.delta.tool_calls or []:
            if part.index == len(calls[at]):
                calls[at].append([part.function.name, "", part.id])
            calls[at][part.index][1] += part.function.arguments or ""
    return [(texts[i], [tuple(call) for call in calls[i]], ends[i]) for i in range(count)]


def json_objects(client):
    texts, _ = client.chat(**chat(max_tokens=24, response_format={"type": "json_object"}))
    (text, calls, end), = texts
    assert text.startswith("{") and not calls and end in ("stop", "length"), texts
    assert end == "length" or isinstance(json.loads(text), dict), texts


def schemas(client):
    schema = Person.model_json_schema()
    for form in ({"type": "json_schema", "json_schema": {"name": "person", "strict": True, "schema": schema}},
                 {"type": "json_object", "schema": schema}):
        choices, answer = client.chat(**chat(n=2, seed=3, temperature=1, logprobs=True, response_format=form))
        assert len({text for text, *_ in choices}) == 2, choices
        for (text, _, end), choice in zip(choices, answer.choices):
            assert end == "stop", choices
            Person.model_validate_json(text, strict=True)
            assert "".join(token.token for token in choice.logprobs.content) == text, choice


def grammars(client):
    form = {"type": "grammar", "grammar": 'root ::= ("yes" | "no") ", " word\nword ::= [a-f]{3}'}
    pattern = r"(yes|no), [a-f]{3}"
    (text, _, end), = client.chat(**chat(response_format=form))[0]
    assert re.fullmatch(pattern, text) and end == "stop", text
    # A raw prompt too, with its echo before it.
    request = {"model": BASE_NAME, "prompt": "Is it so?", "max_tokens": 24, "temperature": 0, "echo": True,
               "extra_body": {"response_format": form}}
    (text, *_), = client.ask(client.client.completions.create, request)[0]
    assert re.fullmatch(r"Is it so\?" + pattern, text), text


def tools(client, model):
    """The model must call, and is then told what came of it."""
    def check(calls, names=("weather", "town")):
        for name, arguments, *_ in calls:
            assert name in names, calls
            {"weather": Weather, "town": Town}[name].model_validate_json(arguments, strict=True)

    must = chat(model, tools=TOOLS, tool_choice="required", parallel_tool_calls=False)
    choices, answer = client.chat(**must, n=2, seed=5)
    for text, calls, end in choices:
        assert not text and len(calls) == 1 and end == "tool_calls", choices
        check(calls)
    named = {"type": "function", "function": {"name": "town"}}
    (_, calls, end), = client.chat(**(must | {"tool_choice": named}))[0]
    assert end == "tool_calls", calls
    check(calls, ["town"])

    said = answer.choices[0].message.model_dump(exclude_none=True)
    result = {"role": "tool", "tool_call_id": said["tool_calls"][0]["id"], "content": '{"sky": "clear"}'}
    told = chat(model, tools=TOOLS, messages=[*must["messages"], said, result], max_tokens=6)
    for choice in ("auto", "none"):
        (text, calls, end), = client.chat(**told, tool_choice=choice)[0]
        assert (text or calls) and end in ("stop", "length", "tool_calls"), (text, calls)
        assert choice == "auto" or not calls, calls


def refusals(client):
    error = client.refused(**chat(tools=TOOLS))
    assert error["param"] == "tools" and "does not show tools" in error["message"], error
    form = {"type": "json_schema", "json_schema": {"name": "odd", "schema": {"not": {}}}}
    error = client.refused(**chat(response_format=form))
    assert error["param"] == "response_format" and '"not"' in error["message"], error
    error = client.refused(**chat(response_format={"type": "grammar", "grammar": "root ::= other"}))
    assert error["param"] == "response_format", error
    error = client.refused(**chat(TOOLS_NAME, tools=TOOLS, response_format={"type": "json_object"}))
    assert "tools" in error["message"], error


def parsed(client):
    """The helper of the package openai that takes a class and gives an instance."""
    answer = client.wait(client.client.chat.completions.parse(**chat(response_format=Person)))
    assert isinstance(answer.choices[0].message.parsed, Person), answer


def main():
    def prepare(data_dir):
        for form, calls in (("tools", TAGS), ("args", ARGS)):
            link_base(data_dir, f"{BASE}-{form}", TEMPLATE.replace("CALL", calls))

    with server(prepare=prepare) as running:
        loop = asyncio.new_event_loop()
        settings = {"api_key": running.key, "max_retries": 0}
        of_openai = settings | {"base_url": running.url + "/inference/v1"}
        of_fireworks = settings | {"base_url": running.url, "account_id": "default", "_strict_response_validation": True}
        clients = [
            Client(openai.OpenAI(**of_openai), openai),
            Client(openai.AsyncOpenAI(**of_openai), openai, loop),
            Client(fireworks.Fireworks(**of_fireworks), fireworks),
            Client(fireworks.AsyncFireworks(**of_fireworks), fireworks, loop),
        ]
        for client in clients:
            for part in (json_objects, schemas, grammars, refusals):
                part(client)
            for model in (TOOLS_NAME, ARGS_NAME):
                tools(client, model)
            if client.package is openai:
                parsed(client)
        for client in clients:
            client.wait(client.client.close())
        loop.close()
    print("forms: schemas, grammars and calls of tools passed with both packages and all four clients")


if __name__ == "__main__":
    main()
