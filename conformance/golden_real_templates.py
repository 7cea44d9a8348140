"""What transformers makes of many conversations with the chat templates of public models.

    target/python/bin/python conformance/golden_real_templates.py [--named 500] [--others 60]

For each template of `families.py` it writes `target/families/golden/templates/NAME.jsonl`: a first line with the
template, then a line for each conversation with its text, or null where transformers refuses it. The conversations are
made by a program from a seed; `crates/data/tests/families.rs` renders them again and compares bytes.
"""

import argparse
import datetime
import json
import random
import shutil

from jinja2.exceptions import TemplateSyntaxError
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast
from transformers.utils import chat_template_utils

import families

OUT = families.FAMILIES / "golden/templates"

PIECES = [
    "", " ", "\n", "\n\n", "\t", "  ", "\r\n", "\x0b", "\x0c", "\x1c", "\x1f", "\x85", "\xa0", "\u2003", "\u2028",
    "\u200b", "\ufeff", "\x00", "\x7f", "a", "Hello", "What is 2+2?", " leading", "trailing ", "žluťoučký kůň", "日本語の文",
    "Привет, мир", "שלום", "مرحبا", "नमस्ते", "สวัสดี", "e\u0301", "ﬁ", "İ", "ß", "ǅ", "🐎", "👩‍👩‍👧", "🇨🇿", "𝔘", "<b>&amp; 'x' \"y\"</b>", "&lt;", "\\n",
    "\\", "'", "\"", "{{ x }}", "{% if %}", "{# #}", "<|im_end|>", "<|im_start|>user\n", "</s>", "<s>", "[INST]", "[/INST]",
    "<<SYS>>", "<|eot_id|>", "<end_of_turn>", "<think>", "</think>", "\n</think>\n\n", "<think>\nsecret\n</think>\n\n", "<tool_call>",
    "</tool_call>", "<tool_response>", "</tool_response>", "<tool_response>\nx\n</tool_response>", "[TOOL_CALLS]", "```json\n{\"a\": 1}\n```",
    "{\"sky\": \"clear\", \"t\": [1, 2.5, null]}", "[1, 2]", "null", "true", "3.0", "/think", "/no_think", "/system_override", "x" * 70,
    "def f(x):\n    return x  # ok\n", "1,234.56 %", "line\n  indented\n", "None", "analysis", "<|channel|>final<|message|>",
]
STRINGS = PIECES + ["Brno", "2026-03-01", "key", "ключ", "a/b", "\u2029", "\ud7ff", "\uffff"]
INTEGERS = [0, 1, -1, 7, 42, 2**31, 2**53 + 1, -(2**63), 2**63 - 1, 2**63, 2**64 - 1]
FLOATS = [0.0, -0.0, 1.0, -2.0, 0.1, 0.5, 3.14, 1e-4, 1e-5, 1.5e-7, 1e15, 1e16, 1e17, 1.25e22, 5e-324, 1.7976931348623157e308,
          123456789.123456789, 0.30000000000000004, 2.675, 1e100, 100000.0, 12345678901234567.0]
NAMES = ["weather", "stop", "get_current_time", "функция", "a.b", "search-web", "python", "brave_search"]


def text(rng):
    return "".join(rng.choice(PIECES) for _ in range(rng.choice([1, 1, 1, 2, 3, 4])))


def value(rng, depth=0):
    kind = rng.randrange(10 if depth < 3 else 7)
    if kind == 0:
        return None
    if kind == 1:
        return rng.random() < 0.5
    if kind == 2:
        return rng.choice(INTEGERS)
    if kind == 3:
        return rng.choice(FLOATS) if rng.random() < 0.5 else rng.uniform(-1, 1) * 10.0 ** rng.randrange(-12, 25)
    if kind < 7:
        return rng.choice(STRINGS)
    if kind == 7:
        return [value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return arguments(rng, depth + 1)


def arguments(rng, depth=0):
    keys = ["city", "days", "b", "a", "Z", "10", "9", "ž", "", "x y", "name", "parameters", "items", "nested", "\"quoted\"", "None"]
    return {key: value(rng, depth) for key in rng.sample(keys, rng.choice([0, 1, 1, 2, 3, 5]))}


def schema(rng, depth=0):
    kind = rng.choice(["string", "integer", "number", "boolean", "array", "object"] if depth < 3 else ["string", "integer"])
    made = {"type": kind}
    if rng.random() < 0.2:
        made["type"] = [kind, "null"]
    if rng.random() < 0.6:
        made["description"] = text(rng)
    if rng.random() < 0.2:
        made["enum"] = [rng.choice(STRINGS) for _ in range(2)]
    if rng.random() < 0.2:
        made["default"] = value(rng, 2)
    if rng.random() < 0.1:
        made["nullable"] = rng.random() < 0.5
    if kind == "array" and rng.random() < 0.8:
        made["items"] = schema(rng, depth + 1)
    if kind == "object":
        made["properties"] = {key: schema(rng, depth + 1) for key in rng.sample(["p", "q", "ž", "type"], rng.randrange(3))}
        if rng.random() < 0.5:
            made["required"] = list(made["properties"])[:1]
    if kind in ("integer", "number") and rng.random() < 0.3:
        made["minimum"] = rng.choice(INTEGERS[:6] + FLOATS[:8])
    return made


def tool(rng):
    function = {"name": rng.choice(NAMES)}
    if rng.random() < 0.85:
        function["description"] = text(rng)
    if rng.random() < 0.9:
        names = rng.sample(["city", "days", "scale", "žlutý", "b", "a"], rng.randrange(4))
        parameters = {"type": "object", "properties": {name: schema(rng) for name in names}}
        if rng.random() < 0.7:
            parameters["required"] = names[:1]
        if rng.random() < 0.2:
            parameters["additionalProperties"] = False
        function["parameters"] = parameters
    if rng.random() < 0.1:
        function["strict"] = True
    if rng.random() < 0.1:
        function["return"] = {"type": "string", "description": "what comes"}
    return {"type": "function", "function": function}


def call(rng, nine):
    made = {"type": "function", "function": {"name": rng.choice(NAMES), "arguments": arguments(rng)}}
    if nine:
        return {"id": "".join(rng.choice("abcXYZ0189") for _ in range(9)), **made}
    if rng.random() < 0.7:
        return {"id": f"call_{rng.randrange(1000)}", **made}
    return made


def assistant(rng, thinks, calls=()):
    """Members in the order in which they are given to templates."""
    made = {"role": "assistant", "content": "" if calls and rng.random() < 0.6 else text(rng)}
    if thinks and rng.random() < 0.6:
        made["reasoning_content"] = text(rng)
    if calls:
        made["tool_calls"] = list(calls)
    return made


def conversation(rng):
    """Messages and tools. Most follow the rules of most templates; some follow none."""
    kind = rng.random()
    thinks = rng.random() < 0.3
    tools = [tool(rng) for _ in range(rng.choice([1, 1, 2, 3]))] if rng.random() < (0.15 if kind < 0.45 else 0.8) else []
    messages = []
    if rng.random() < 0.5:
        messages.append({"role": "system", "content": text(rng)})
    if kind < 0.9:
        with_calls = kind >= 0.45
        nine = rng.random() < 0.7
        one = rng.random() < 0.5
        for _ in range(rng.choice([1, 1, 2, 3])):
            messages.append({"role": "user", "content": text(rng)})
            if with_calls and rng.random() < 0.8:
                calls = [call(rng, nine) for _ in range(1 if one else rng.choice([1, 2, 3]))]
                messages.append(assistant(rng, thinks, calls))
                for made in calls:
                    message = {"role": "tool", "content": text(rng)}
                    if "id" in made:
                        message["tool_call_id"] = made["id"]
                    if rng.random() < 0.4:
                        message["name"] = made["function"]["name"]
                    messages.append(message)
            messages.append(assistant(rng, thinks))
        if rng.random() < 0.5:
            messages.pop()
    else:
        for _ in range(rng.randrange(1, 6)):
            role = rng.choice(["system", "user", "assistant", "tool"])
            if role == "assistant":
                messages.append(assistant(rng, thinks, [call(rng, True)] if rng.random() < 0.3 else ()))
            else:
                messages.append({"role": role, "content": text(rng)})
    return messages, tools


NOW = [datetime.datetime(2024, 7, 26), datetime.datetime(2026, 1, 1), datetime.datetime(2026, 3, 9, 4, 5, 6),
       datetime.datetime(2028, 2, 29, 23, 59, 59), datetime.datetime(2031, 12, 31, 12, 0, 1)]


class Clock(datetime.datetime):
    moment = NOW[0]

    @classmethod
    def now(cls, tz=None):
        return cls.moment


def renderer(template):
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE()), chat_template=template.text, **template.special)


def given(messages, form):
    """Messages as a template of this form takes them: see crates/data/src/template/tools.rs."""
    made = []
    for message in messages:
        message = dict(message)
        if message.get("tool_calls"):
            if form["no_content"] and not message["content"]:
                message["content"] = None
            if form["arguments_as_text"]:
                message["tool_calls"] = [
                    {**one, "function": {**one["function"], "arguments": json.dumps(one["function"]["arguments"], ensure_ascii=False)}}
                    for one in message["tool_calls"]]
        made.append(message)
    return made


def render(tokenizer, messages, tools, add_generation_prompt, form):
    """The text, or None if transformers refuses the conversation, and why it does."""
    messages, rest = given(messages, form), {"tools": tools or None, "add_generation_prompt": add_generation_prompt}
    try:
        if form["no_content"]:
            # apply_chat_template takes `content: None` away; what it calls then, and older versions, do not.
            (text,), _ = chat_template_utils.render_jinja_template(
                [messages], chat_template=tokenizer.chat_template, **rest, **tokenizer.special_tokens_map)
            return text, None
        return tokenizer.apply_chat_template(messages, tokenize=False, **rest), None
    except Exception as error:  # Templates fail in every way that Python has.
        if isinstance(error, TemplateSyntaxError):
            raise
        return None, f"{type(error).__name__}: {error}"


PROBE = [
    {"role": "user", "content": "a"},
    {"role": "assistant", "content": "", "tool_calls": [
        {"id": "abcdefghi", "type": "function", "function": {"name": "probe_function", "arguments": {"probe_argument": 1}}}]},
    {"role": "tool", "content": "b", "tool_call_id": "abcdefghi"},
    {"role": "assistant", "content": "c"},
]
PROBE_TOOLS = [{"type": "function", "function": {
    "name": "probe_tool", "description": "d", "parameters": {"type": "object", "properties": {"p": {"type": "integer"}}}}}]
FORMS = [{"no_content": no_content, "arguments_as_text": as_text} for no_content in (False, True) for as_text in (False, True)]


def form_of(tokenizer):
    """The first form in which the template shows a call with its arguments; the first of all if it shows none."""
    for form in FORMS:
        shown, _ = render(tokenizer, PROBE, PROBE_TOOLS, False, form)
        if shown and "probe_function" in shown and "probe_argument" in shown:
            return form
    return FORMS[0]


# Some templates refuse most conversations: those with a system message, or with calls of tools. All are compared.
TRIES = 8


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--named", type=int, default=500, help="conversations that each named family renders")
    parser.add_argument("--others", type=int, default=60, help="conversations that each other template renders")
    parser.add_argument("--seed", default="1", help="other conversations for another seed")
    arguments = parser.parse_args()
    chat_template_utils.datetime = Clock
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    total = refused = 0
    for template in families.templates():
        tokenizer = renderer(template)
        head = {"source": template.source, "named": template.named, "template": template.text, "special_tokens": template.special}
        try:
            form = form_of(tokenizer)
        except TemplateSyntaxError:
            # Not for transformers: other programs know tags that it does not.
            lines = [{**head, "compiles": False}]
        else:
            lines = [{**head, "compiles": True, **form}]
            rng = random.Random(f"{arguments.seed} {template.name}")
            wanted, rendered = arguments.named if template.named else arguments.others, 0
            for _ in range(TRIES * wanted):
                if rendered == wanted:
                    break
                messages, tools = conversation(rng)
                Clock.moment = rng.choice(NOW)
                prompt = rng.random() < 0.5
                text, why = render(tokenizer, messages, tools, prompt, form)
                now_ms = int(Clock.moment.replace(tzinfo=datetime.timezone.utc).timestamp() * 1000)
                lines.append({"messages": messages, "tools": tools, "add_generation_prompt": prompt, "now_ms": now_ms, "text": text, "refusal": why})
                total, refused, rendered = total + 1, refused + (text is None), rendered + (text is not None)
        with (OUT / f"{template.name}.jsonl").open("w") as file:
            file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    print(f"{total} conversations, {refused} of them refused")


if __name__ == "__main__":
    main()
