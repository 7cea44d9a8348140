"""Golden fixtures for crates/data: a tiny tokenizer, rendered chat templates, token ids and assistant masks.

Usage: python conformance/golden_templates.py
Needs: pip install transformers jinja2 tokenizers (written with transformers 5, tokenizers 0.23).
Writes crates/data/tests/fixtures/tiny/ and crates/data/tests/fixtures/golden.json. The Rust tests compare against
them; nothing else reads them. The templates other than ChatML were written for this file, in the manner of the
model families that they are named after.
"""

import json
import pathlib

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast
from transformers.utils.chat_template_utils import render_jinja_template

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "crates/data/tests/fixtures"

CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}"
    "{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

CHATML_GENERATION = """{%- for message in messages %}
    {%- if message.role == 'assistant' %}
        {{- '<|im_start|>assistant\n' }}
        {%- generation %}
            {{- message.content + '<|im_end|>' }}
        {%- endgeneration %}
        {{- '\n' }}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}
"""

LLAMA_3_STYLE = """{%- if not date_string is defined %}
    {%- set date_string = "26 Jul 2024" %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- bos_token }}
{{- "<|start_header_id|>system<|end_header_id|>\n\nToday Date: " + date_string + "\n\n" + system_message }}
{%- if tools is not none %}{{- tools | tojson(indent=4) }}{% endif %}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}
"""

MISTRAL_STYLE = """{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}
{%- set ns = namespace(index=0) %}
{%- for message in loop_messages %}
    {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
        {{- raise_exception("user and assistant messages must alternate") }}
    {%- endif %}
    {%- set ns.index = ns.index + 1 %}
{%- endfor %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\n\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token}}
    {%- endif %}
{%- endfor %}
"""

GEMMA_STYLE = """{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}
        {%- set first_user_prefix = messages[0]['content'] + '\n\n' -%}
    {%- else -%}
        {%- set first_user_prefix = messages[0]['content'][0]['text'] + '\n\n' -%}
    {%- endif -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set first_user_prefix = "" -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("Conversation roles must alternate user/assistant/user/assistant/...") }}
    {%- endif -%}
    {%- if (message['role'] == 'assistant') -%}
        {%- set role = "model" -%}
    {%- else -%}
        {%- set role = message['role'] -%}
    {%- endif -%}
    {{ '<start_of_turn>' + role + '\n' + (first_user_prefix if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for item in message['content'] -%}{{ item['text'] | trim }}{%- endfor -%}
    {%- else -%}
        {{ raise_exception("Invalid content type") }}
    {%- endif -%}
    {{ '<end_of_turn>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{'<start_of_turn>model\n'}}
{%- endif -%}
"""

TEMPLATES = [
    ("chatml", CHATML, {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}),
    ("chatml-generation", CHATML_GENERATION, {"eos_token": "<|im_end|>"}),
    ("llama-3-style", LLAMA_3_STYLE, {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}),
    ("mistral-style", MISTRAL_STYLE, {"bos_token": "<s>", "eos_token": "</s>"}),
    ("gemma-style", GEMMA_STYLE, {"bos_token": "<bos>", "eos_token": "<eos>"}),
]

TAGS_STYLE = """{%- if tools %}
    {{- '<|im_start|>system\n' }}
    {%- if messages[0]['role'] == 'system' %}{{- messages[0]['content'] + '\n\n' }}{%- endif %}
    {{- "Functions, one a line, in <tools></tools>:\n<tools>" }}
    {%- for tool in tools %}
        {{- "\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- '\n</tools>\nCall one by <tool_call>{"name": NAME, "arguments": OBJECT}</tool_call><|im_end|>\n' }}
{%- elif messages[0]['role'] == 'system' %}
    {{- '<|im_start|>system\n' + messages[0]['content'] + '<|im_end|>\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == "assistant" and message.tool_calls %}
        {{- '<|im_start|>assistant' }}
        {%- if message.content %}{{- '\n' + message.content }}{%- endif %}
        {%- for tool_call in message.tool_calls %}
            {%- if tool_call.function is defined %}{%- set tool_call = tool_call.function %}{%- endif %}
            {{- '\n<tool_call>\n{"name": "' + tool_call.name + '", "arguments": ' }}
            {{- tool_call.arguments | tojson }}
            {{- '}\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.first or messages[loop.index0 - 1].role != "tool" %}{{- '<|im_start|>user' }}{%- endif %}
        {{- '\n<tool_response>\n' + message.content + '\n</tool_response>' }}
        {%- if loop.last or messages[loop.index0 + 1].role != "tool" %}{{- '<|im_end|>\n' }}{%- endif %}
    {%- elif not (loop.first and message.role == "system") %}
        {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}
"""

LLAMA_TOOLS_STYLE = """{%- if not tools_in_user_message is defined %}{%- set tools_in_user_message = true %}{%- endif %}
{%- if not tools is defined %}{%- set tools = none %}{%- endif %}
{{- bos_token }}
{%- for message in messages %}
    {%- if message.role == 'tool' or message.role == 'ipython' %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\n\n" }}
        {%- if message.content is mapping or message.content is iterable and message.content is not string %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- elif 'tool_calls' in message %}
        {%- if message.tool_calls | length != 1 %}
            {{- raise_exception("This template takes one call in a message.") }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\n\n{"name": "' + tool_call.name + '", ' }}
        {{- '"parameters": ' }}
        {{- tool_call.arguments | tojson }}
        {{- "}<|eot_id|>" }}
    {%- else %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}
        {%- if tools_in_user_message and tools is not none and message.role == 'user' and loop.index0 < 2 %}
            {%- for t in tools %}
                {{- t | tojson(indent=4) }}
                {{- "\n\n" }}
            {%- endfor %}
        {%- endif %}
        {{- message['content'] | trim + '<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}
"""

MISTRAL_TOOLS_STYLE = """{%- set loop_messages = messages %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if tools is not none and loop.first %}
            {{- "[AVAILABLE_TOOLS] [" }}
            {%- for tool in tools %}
                {%- set tool = tool.function %}
                {{- '{"type": "function", "function": {' }}
                {%- for key, val in tool.items() if key != "return" %}
                    {%- if val is string %}
                        {{- '"' + key + '": "' + val + '"' }}
                    {%- else %}
                        {{- '"' + key + '": ' + val|tojson }}
                    {%- endif %}
                    {%- if not loop.last %}{{- ", " }}{%- endif %}
                {%- endfor %}
                {{- "}}" }}
                {%- if not loop.last %}{{- ", " }}{%- else %}{{- "]" }}{%- endif %}
            {%- endfor %}
            {{- "[/AVAILABLE_TOOLS]" }}
        {%- endif %}
        {{- "[INST] " + message["content"] + "[/INST]" }}
    {%- elif message.tool_calls is defined and message.tool_calls is not none %}
        {{- "[TOOL_CALLS] [" }}
        {%- for tool_call in message.tool_calls %}
            {%- set out = tool_call.function|tojson %}
            {{- out[:-1] }}
            {{- ', "id": "' + tool_call.id + '"}' }}
            {%- if not loop.last %}{{- ", " }}{%- else %}{{- "]" + eos_token }}{%- endif %}
        {%- endfor %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token }}
    {%- elif message["role"] == "tool" %}
        {{- '[TOOL_RESULTS] {"content": ' + message.content|string + ", " }}
        {{- '"call_id": "' + message.tool_call_id + '"}[/TOOL_RESULTS]' }}
    {%- endif %}
{%- endfor %}
"""

TOOL_TEMPLATES = [
    ("tags-style", TAGS_STYLE, {"eos_token": "<|im_end|>"}),
    ("llama-tools-style", LLAMA_TOOLS_STYLE, {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}),
    ("mistral-tools-style", MISTRAL_TOOLS_STYLE, {"bos_token": "<s>", "eos_token": "</s>"}),
]

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather <now> in a \"city\", e.g. Žďár",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "enum": ["Brno", "Žďár"]},
                    "days": {"type": "integer", "minimum": 0, "default": None},
                    "scale": {"type": "number", "multipleOf": 0.5, "maximum": 1e16},
                },
                "required": ["city"],
                "additionalProperties": False,
            },
        },
    },
    {"type": "function", "function": {"name": "stop", "parameters": {"type": "object", "properties": {}}}},
]

# Each prints what Python's Jinja prints; the variables are those of a conversation.
PYTHON_HABITS = [
    "{{ true }} {{ none }} {{ 1.0 }} {{ 7 // 2 }} {{ -7 % 3 }}",
    "{{ {'b': 1, 'a': [1, 2.5, none, true, 'ü \"\\n'], 'c': {}, 'd': []} | tojson }}",
    "{{ {'b': 1, 'a': [1, {'x': 'y'}], 'c': {}, 'd': []} | tojson(indent=2) }}",
    "{{ {'b': 'ü', 'a': 1e20} | tojson(sort_keys=true, ensure_ascii=true, separators=(',', ':')) }}",
    "{{ [0.1, 1e-05, 1e16, 123456789.0, 0.0001] | tojson }}",
    "{{ '<a href=\"x\">&' | tojson }}",
    "{{ messages | tojson }}",
    "{{ ' x '.strip() ~ '|' ~ 'a,b'.split(',')[-1] ~ 'AB'.lower() ~ 'ab'.startswith('a') ~ 'abc'.find('c') }}",
    "{{ 'a</think>b'.split('</think>')[-1].lstrip('\n') }} {{ 'x-y'.replace('-', '+') }}",
    "{{ messages[0].get('role', 'none') }} {{ messages[0].get('name', 'nobody') }}",
    "{% for k, v in messages[0].items() %}{{ k }}={{ v }};{% endfor %}",
    "{{ messages[::-1][0]['content'] }} {{ messages[-1].role }} {{ messages | length }}",
    "{% for m in messages %}{% if loop.index > 2 %}{% break %}{% endif %}{% if m.role == 'system' %}{% continue %}{% endif %}[{{ m.content }}]{% endfor %}",
    "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + m.content | length %}{% endfor %}{{ ns.n }}",
    "{{ missing }}|{{ messages[0].missing }}|{{ missing is defined }}|{{ 'yes' if missing else 'no' }}",
    "{% macro show(m) %}<{{ m.role }}>{% endmacro %}{% for m in messages %}{{ show(m) }}{% endfor %}",
    "  {% if true %}\n  a\n  {% endif %}\n  {# comment #}\nb\n",
    "{{ 'system' in messages[0].values() }} {{ 'role' in messages[0] }} {{ 'x' not in 'abc' }}",
    "{{ messages | map(attribute='role') | join(', ') }} {{ messages | selectattr('role', 'equalto', 'user') | list | length }}",
    "{{ messages[1:] | map(attribute='content') | list | first }} {{ range(3) | list | last }}",
    "{% set x = 'a' if messages[0].role == 'system' else 'b' %}{{ x | upper }}{{ x * 3 }}",
    "{{ [1e16, 1e-05, -0.0, 1.5, 1983667980731105.25, {'k': none, 'e\u0301\u200b': 'it\\'s', 1: true}] }} {{ 1e22 }} {{ 2.5e-7 | string }}",
    "{{ '\x1c\x1f a \x85' | trim }}|{{ '\x1d a\u2003'.strip() }}|{{ '\x1e a'.lstrip() }}|{{ 'a\x1c'.rstrip() }}|{{ 1.0 | trim }}",
    "{{ ' a\x1cb  c '.split() }} {{ 'a b c'.split(' ', 1) }} {{ 'a--b'.split('-', maxsplit=1) }} {{ '\x1f'.isspace() }}",
    "{{ 'abc'.removeprefix('a') }} {{ 'abc'.removesuffix('c') }} {{ 'abc'.removeprefix('c') }} {{ 'a\rb\x1c'.splitlines() }}",
    "{{ 'a\n\nb' | indent }}|{{ 'a\n' | indent(2, first=true) }}|{{ 'a\n\nb\n' | indent('> ', true, true) }}",
    "{{ missing | length }} {{ 'abc' is iterable }} {{ none is iterable }} {{ 'abc' is sequence }} {{ {} is sequence }} {{ true is number }}",
    "{{ 'a' 'b' }} {{ '%s-%d' | format('x', 3) }} {{ 'q' | default('z') }} {{ missing | default('z') }}",
]

QUESTION = {"role": "user", "content": "What is  two plus two?"}
CONVERSATIONS = [
    [QUESTION, {"role": "assistant", "content": "Four."}],
    [{"role": "system", "content": " Be brief. "}, QUESTION, {"role": "assistant", "content": "Four: 4\n"}],
    [
        {"role": "system", "content": "Answer in Czech: žluťoučký kůň 🐎"},
        QUESTION,
        {"role": "assistant", "content": "Čtyři <b>& \"quoted\"</b>"},
        {"role": "user", "content": "And\nthree 33?\t"},
        {"role": "assistant", "content": "  Six.  "},
        {"role": "user", "content": "Thanks"},
    ],
]

CALL = {
    "id": "a1b2c3d4e",
    "type": "function",
    "function": {"name": "weather", "arguments": {"days": 3, "city": "Žďár", "scale": 1.0, "more": [None, True, "\"\n"]}},
}
TOOL_CONVERSATIONS = [
    [QUESTION],
    [
        {"role": "system", "content": "Be brief."},
        QUESTION,
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "a1b2c3d4e", "content": "{\"sky\": \"clear\"}"},
        {"role": "assistant", "content": "Clear."},
        {"role": "user", "content": "And tomorrow?"},
    ],
]

CORPUS = """The assistant answers every question in one short sentence. What is two plus two? Two plus two is four.
You are a helpful AI assistant named SmolLM, trained by Hugging Face. The user asks, the assistant answers.
Where is the order? The order left the store this morning, and the parcel is on its way. How long does it take?
It takes three days. Thank you for the answer. system user assistant system user assistant question answer brief.
""".splitlines()


def render(template, messages, add_generation_prompt, special, tools=None):
    (text,), _ = render_jinja_template(
        conversations=[messages],
        tools=tools,
        chat_template=template,
        add_generation_prompt=add_generation_prompt,
        **special,
    )
    return text


def tiny_tokenizer():
    """A byte-level BPE tokenizer with SmolLM2's rules and first three ids, and very few merges."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=480,
        special_tokens=[AddedToken(text, normalized=False, special=True) for text in special],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS + ["\n\n\n"] * 3 + ["\n  "] * 3, trainer)
    folder = FIXTURES / "tiny"
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": False,
        "bos_token": "<|im_start|>",
        "eos_token": {"content": "<|im_end|>", "special": True},
        "pad_token": "<|im_end|>",
        "unk_token": "<|endoftext|>",
        "chat_template": CHATML,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n")
    return PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), bos_token="<|im_start|>", eos_token="<|im_end|>"
    )


def main():
    tokenizer = tiny_tokenizer()
    renderings = []
    for name, template, special in TEMPLATES:
        cases = []
        for index, messages in enumerate(CONVERSATIONS):
            for add_generation_prompt in [False, True]:
                text = render(template, messages, add_generation_prompt, special)
                cases.append([index, add_generation_prompt, text])
        renderings.append({"name": name, "template": template, "special_tokens": special, "cases": cases})
    tool_renderings = []
    for name, template, special in TOOL_TEMPLATES:
        cases = []
        for index, messages in enumerate(TOOL_CONVERSATIONS):
            for with_tools in [False, True]:
                text = render(template, messages, True, special, TOOLS if with_tools else None)
                cases.append([index, with_tools, text])
        tool_renderings.append({"name": name, "template": template, "special_tokens": special, "cases": cases})
    habits = [
        {"template": template, "text": render(template, CONVERSATIONS[2], False, {})} for template in PYTHON_HABITS
    ]
    masks = []
    # transformers lets the tokenizer join an answer's leading white space with the generation prompt, which then
    # is no prefix of the training tokens; the renderer keeps them apart. So no leading white space here.
    third = [dict(message, content=message["content"].lstrip()) for message in CONVERSATIONS[2][:-1]]
    for messages in CONVERSATIONS[:2] + [third]:
        encoded = tokenizer.apply_chat_template(
            messages,
            chat_template=CHATML_GENERATION,
            tokenize=True,
            return_dict=True,
            return_assistant_tokens_mask=True,
        )
        masks.append(
            {"messages": messages, "ids": encoded["input_ids"], "mask": encoded["assistant_masks"]}
        )
    golden = {
        "conversations": CONVERSATIONS,
        "renderings": renderings,
        "tools": TOOLS,
        "tool_conversations": TOOL_CONVERSATIONS,
        "tool_renderings": tool_renderings,
        "python_habits": habits,
        "generation_template": CHATML_GENERATION,
        "masks": masks,
    }
    path = FIXTURES / "golden.json"
    path.write_text(json.dumps(golden, indent=1, ensure_ascii=False) + "\n")
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
