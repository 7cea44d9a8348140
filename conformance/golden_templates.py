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

CORPUS = """The assistant answers every question in one short sentence. What is two plus two? Two plus two is four.
You are a helpful AI assistant named SmolLM, trained by Hugging Face. The user asks, the assistant answers.
Where is the order? The order left the store this morning, and the parcel is on its way. How long does it take?
It takes three days. Thank you for the answer. system user assistant system user assistant question answer brief.
""".splitlines()


def render(template, messages, add_generation_prompt, special):
    (text,), _ = render_jinja_template(
        conversations=[messages],
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
        "python_habits": habits,
        "generation_template": CHATML_GENERATION,
        "masks": masks,
    }
    path = FIXTURES / "golden.json"
    path.write_text(json.dumps(golden, indent=1, ensure_ascii=False) + "\n")
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
