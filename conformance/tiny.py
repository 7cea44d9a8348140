"""A tiny Llama of random numbers, for what needs answers and not sense. Nothing but the standard library."""

import array
import json
import random
import shutil
import struct
import subprocess

from harness import HEARTH, ROOT

CONTEXT_TOKENS = 256
VOCABULARY, HIDDEN, INTERMEDIATE, KV, LAYERS = 427, 96, 160, 48, 2
LINEARS = [("self_attn.q_proj", HIDDEN, HIDDEN), ("self_attn.k_proj", KV, HIDDEN), ("self_attn.v_proj", KV, HIDDEN),
           ("self_attn.o_proj", HIDDEN, HIDDEN), ("mlp.gate_proj", INTERMEDIATE, HIDDEN),
           ("mlp.up_proj", INTERMEDIATE, HIDDEN), ("mlp.down_proj", HIDDEN, INTERMEDIATE)]
CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": HIDDEN,
          "intermediate_size": INTERMEDIATE, "num_hidden_layers": LAYERS, "num_attention_heads": 4,
          "num_key_value_heads": 2, "head_dim": 24, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
          "tie_word_embeddings": True, "vocab_size": VOCABULARY, "max_position_embeddings": CONTEXT_TOKENS}
# Shows tools, and calls in the form of Hermes.
TEMPLATE = """\
{% if tools %}<|im_start|>system
<tool_call> {{ tools | tojson }}<|im_end|>
{% endif %}{% for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}{% for call in message.tool_calls or [] %}<tool_call>
{{ call.function | tojson }}
</tool_call>{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


def tensors(seed):
    numbers = random.Random(seed)

    def uniform(count, scale):
        return array.array("f", (numbers.uniform(-scale, scale) for _ in range(count)))

    yield "model.embed_tokens.weight", [VOCABULARY, HIDDEN], uniform(VOCABULARY * HIDDEN, 1.0)
    yield "model.norm.weight", [HIDDEN], array.array("f", [4.0] * HIDDEN)
    for layer in range(LAYERS):
        for norm in ("input_layernorm", "post_attention_layernorm"):
            yield f"model.layers.{layer}.{norm}.weight", [HIDDEN], array.array("f", [1.0] * HIDDEN)
        for part, outputs, inputs in LINEARS:
            yield f"model.layers.{layer}.{part}.weight", [outputs, inputs], uniform(outputs * inputs, 0.25)


def write_safetensors(path, named):
    header, data = {}, b""
    for name, shape, numbers in named:
        start = len(data)
        data += numbers.tobytes()
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, len(data)]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def install_base(data_dir, folder, name, seed=1):
    """Makes the model in a folder and installs it as one that every account may use."""
    made = folder / name
    made.mkdir()
    (made / "config.json").write_text(json.dumps(CONFIG))
    fixture = ROOT / "crates/data/tests/fixtures/tiny"
    shutil.copy(fixture / "tokenizer.json", made)
    settings = json.loads((fixture / "tokenizer_config.json").read_text()) | {"chat_template": TEMPLATE}
    (made / "tokenizer_config.json").write_text(json.dumps(settings))
    write_safetensors(made / "model.safetensors", tensors(seed))
    subprocess.run([HEARTH, "model", "import", name, made, "--data-dir", data_dir], check=True, stdout=subprocess.DEVNULL)
