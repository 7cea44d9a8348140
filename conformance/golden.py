"""Writes the golden fixtures of the engine's tests from torch, transformers and peft.

The fixtures are small and committed; run this only to renew them:

    target/python/bin/python conformance/golden.py --only NAME   # one tiny model; without it all of them
    target/python/bin/python conformance/golden.py --only smollm2-135m-instruct --gguf PATH/TO/SmolLM2-135M-Instruct.Q4_1.gguf
    target/python/bin/python conformance/golden.py --only gemma3-270m --gguf PATH/TO/gemma-3-270m-q4_k_m.gguf

For each model it writes a directory under `crates/model/tests/golden/`:

- `config.json`, `model.safetensors` (tiny models only) and `adapter/`, as transformers and peft save them;
- `golden.safetensors`: `tokens`, `positions`, `targets`, `weights` per packed row, `segments` [S, 2], the logits,
  `loss_sum`, `weight_sum`, and `grad.<peft name>` of the mean loss (loss_sum / weight_sum).

and `crates/train/tests/golden/<model>-ten-steps.json`: ten optimiser steps and their losses.
Everything is float32. Segments are run one at a time, so packing is checked against rows alone.
"""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
import transformers
from transformers import AutoModelForCausalLM, GgufConfig

ROOT = Path(__file__).resolve().parent.parent
MODEL_GOLDEN = ROOT / "crates/model/tests/golden"
TRAIN_GOLDEN = ROOT / "crates/train/tests/golden"
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
FUSED_TARGETS = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]
LOGIT_COLUMNS = 4096


def tiny(name, family, eager, **overrides):
    torch.manual_seed(7)
    config_class = getattr(transformers, CONFIG_CLASSES.get(family, family + "Config"))
    config = config_class(**overrides)
    if eager:
        config._attn_implementation = "eager"  # soft-caps are only there
    model = getattr(transformers, family + "ForCausalLM")(config).float()
    centre = 0.0 if family.startswith("Gemma") else 1.0
    with torch.no_grad():
        for key, value in model.named_parameters():
            if key.endswith("norm.weight"):
                value.copy_(centre + 0.1 * torch.randn_like(value))
            else:
                value.copy_(torch.randn_like(value) * 0.12)
    folder = MODEL_GOLDEN / name
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    return folder, model


def with_adapter(folder, model, base_name, r, alpha, scale, targets=TARGETS):
    torch.manual_seed(11)
    config = LoraConfig(r=r, lora_alpha=alpha, target_modules=targets, task_type="CAUSAL_LM", lora_dropout=0.0)
    model = get_peft_model(model, config)
    model.peft_config["default"].base_model_name_or_path = base_name
    with torch.no_grad():
        for key, value in model.named_parameters():
            if "lora_" in key:
                value.copy_(torch.randn_like(value) * scale)
    adapter = folder / "adapter"
    shutil.rmtree(adapter, ignore_errors=True)
    model.save_pretrained(adapter)
    (adapter / "README.md").unlink(missing_ok=True)
    # peft keeps the names in a set, whose order changes from run to run.
    written = json.loads((adapter / "adapter_config.json").read_text())
    written["target_modules"].sort()
    (adapter / "adapter_config.json").write_text(json.dumps(written, indent=2, sort_keys=True))
    model.eval()
    return model


def sample(generator, vocab, length):
    """Tokens and, per token, the weight of predicting it (the first is never predicted)."""
    tokens = generator.integers(3, vocab, size=length).tolist()
    weights = (generator.random(length) < 0.6).astype(float).tolist()
    weights[0] = 0.0
    weights[-1] = 1.0
    return {"tokens": tokens, "weights": weights}


def loss_of(model, row):
    """Weighted sum of the negative log-likelihoods of one row, and its logits."""
    ids = torch.tensor([row["tokens"]])
    logits = model(input_ids=ids).logits[0]
    logp = torch.log_softmax(logits[:-1].double(), dim=-1)
    picked = logp.gather(1, ids[0, 1:, None])[:, 0]
    weights = torch.tensor(row["weights"][1:], dtype=torch.float64)
    return -(picked * weights).sum(), logits


def peft_name(key):
    return key.replace(".default.", ".")


def golden(folder, model, rows, logit_rows=None, grads=None):
    model.zero_grad()
    losses, logits = zip(*[loss_of(model, row) for row in rows])
    weight_sum = sum(sum(row["weights"][1:]) for row in rows)
    loss_sum = sum(losses)
    (loss_sum / weight_sum).backward()
    logits = torch.cat(logits).detach().float()
    out = {"loss_sum": loss_sum.detach().float()[None], "weight_sum": torch.tensor([weight_sum], dtype=torch.float32)}
    tokens, positions, targets, weights, segments = [], [], [], [], []
    for row in rows:
        start, n = len(tokens), len(row["tokens"])
        tokens += row["tokens"]
        positions += range(n)
        targets += row["tokens"][1:] + [0]
        weights += row["weights"][1:] + [0.0]
        segments.append([start, start + n])
    for name, values in [("tokens", tokens), ("positions", positions), ("targets", targets), ("segments", segments)]:
        out[name] = torch.tensor(values, dtype=torch.int64)
    out["weights"] = torch.tensor(weights, dtype=torch.float32)
    if logit_rows is None:
        out["logits"] = logits
    else:
        out["logit_rows"] = torch.tensor(logit_rows, dtype=torch.int64)
        out["logits_head"] = logits[logit_rows, :LOGIT_COLUMNS].contiguous()
    for key, value in model.named_parameters():
        if value.grad is not None:
            name = peft_name(key)
            out["grad_norm." + name] = value.grad.norm()[None].float()
            if grads is None or name in grads:
                out["grad." + name] = value.grad.clone().contiguous()
    save_file(out, folder / "golden.safetensors")


def ten_steps(name, model_path, model, generator, vocab, rows_per_step, length, lr, decay):
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=decay)
    steps = [[sample(generator, vocab, length + i) for i in range(rows_per_step)] for _ in range(10)]
    losses = []
    for step in steps:
        optimizer.zero_grad()
        weight_sum = sum(sum(row["weights"][1:]) for row in step)
        loss = sum(loss_of(model, row)[0] for row in step) / weight_sum
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    final = {peft_name(k): v.detach().double().norm().item() for k, v in model.named_parameters() if v.requires_grad}
    TRAIN_GOLDEN.mkdir(parents=True, exist_ok=True)
    text = json.dumps({
        "model": model_path, "adapter": f"../../model/tests/golden/{name}/adapter",
        "learning_rate": lr, "weight_decay": decay, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8,
        "steps": steps, "losses": losses, "final_norms": final,
    })
    (TRAIN_GOLDEN / f"{name}-ten-steps.json").write_text(text + "\n")


CONFIG_CLASSES = {"Gemma3": "Gemma3TextConfig"}
LLAMA = dict(attention_bias=False, mlp_bias=False, rms_norm_eps=1e-5)
# Widths differ from one another wherever the family lets them, windows are shorter than most rows, and scores are
# large enough for soft-caps to bend them.
SMALL = dict(hidden_size=16, intermediate_size=28, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
             vocab_size=60, max_position_embeddings=64, rms_norm_eps=1e-6, pad_token_id=0, bos_token_id=1,
             eos_token_id=2)
TINY = {
    "tiny-gqa-tied": ("Llama", dict(
        LLAMA, hidden_size=32, intermediate_size=56, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=96, tie_word_embeddings=True, max_position_embeddings=128, rope_theta=10000.0)),
    "tiny-untied": ("Llama", dict(
        LLAMA, hidden_size=48, intermediate_size=80, num_hidden_layers=3, num_attention_heads=3, num_key_value_heads=1,
        vocab_size=131, tie_word_embeddings=False, max_position_embeddings=64, rope_theta=100000.0)),
    "tiny-llama31": ("Llama", dict(
        SMALL, num_hidden_layers=2, rope_parameters=dict(
            rope_type="llama3", rope_theta=10000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
            original_max_position_embeddings=16))),
    "tiny-mistral": ("Mistral", dict(SMALL, num_hidden_layers=2, head_dim=6, sliding_window=6)),
    "tiny-qwen2": ("Qwen2", dict(
        SMALL, num_hidden_layers=2, use_sliding_window=True, sliding_window=6, max_window_layers=1,
        tie_word_embeddings=True)),
    "tiny-qwen3": ("Qwen3", dict(SMALL, num_hidden_layers=2, head_dim=6, tie_word_embeddings=True)),
    "tiny-smollm3": ("SmolLM3", dict(SMALL, no_rope_layer_interval=2, tie_word_embeddings=True)),
    "tiny-gemma2": ("Gemma2", dict(
        SMALL, head_dim=6, sliding_window=6, query_pre_attn_scalar=5, attn_logit_softcapping=1.5,
        final_logit_softcapping=2.5)),
    "tiny-gemma3": ("Gemma3", dict(
        SMALL, head_dim=6, sliding_window=6, query_pre_attn_scalar=5,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        rope_parameters=dict(
            full_attention=dict(rope_type="linear", factor=8.0, rope_theta=1000000.0),
            sliding_attention=dict(rope_type="default", rope_theta=10000.0)))),
    "tiny-phi3": ("Phi3", dict(SMALL, num_hidden_layers=2, sliding_window=9, tie_word_embeddings=False)),
}


def tiny_model(name):
    family, shape = TINY[name]
    # The two oldest were written with torch's own attention; it differs in the last bits.
    old = name in ("tiny-gqa-tied", "tiny-untied")
    folder, model = tiny(name, family, not old, **shape)
    targets = FUSED_TARGETS if family == "Phi3" else TARGETS
    model = with_adapter(folder, model, name, r=3 if old else 2, alpha=6, scale=0.2, targets=targets)
    generator = np.random.default_rng(5)
    rows = [sample(generator, shape["vocab_size"], n) for n in (17, 5, 2, 23)]
    golden(folder, model, rows)
    ten_steps(name, f"../../model/tests/golden/{name}", model, generator, shape["vocab_size"], 3, 14, 5e-3, 0.05)


def from_gguf(path):
    return AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True),
        attn_implementation="sdpa")


def picked_grads(layers):
    return [f"base_model.model.model.layers.{layer}.{module}.lora_{side}.weight" for layer in layers for side in "AB"
            for module in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.o_proj", "mlp.down_proj")]


def smollm2(name, path):
    folder = MODEL_GOLDEN / name
    folder.mkdir(parents=True, exist_ok=True)
    model = with_adapter(folder, from_gguf(path), f"accounts/fireworks/models/{name}", r=2, alpha=4, scale=0.02)
    generator = np.random.default_rng(5)
    rows = [sample(generator, 49152, n) for n in (37, 12, 51)]
    golden(folder, model, rows, logit_rows=[0, 36, 37, 48, 49, 99], grads=picked_grads((0, 29)))
    ten_steps(name, name, model, generator, 49152, 2, 30, 1e-3, 0.01)


def gemma3(name, path):
    """As above; the second row is longer than the window of 512 tokens."""
    folder = MODEL_GOLDEN / name
    folder.mkdir(parents=True, exist_ok=True)
    model = with_adapter(folder, from_gguf(path), f"accounts/fireworks/models/{name}", r=1, alpha=2, scale=0.02,
                         targets=["q_proj", "down_proj"])
    generator = np.random.default_rng(5)
    rows = [sample(generator, 262144, n) for n in (37, 540, 12)]
    golden(folder, model, rows, logit_rows=[0, 36, 500, 576, 588], grads=picked_grads((0, 5, 17)))


REAL = {"smollm2-135m-instruct": smollm2, "gemma3-270m": gemma3}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=[*TINY, *REAL], help="the fixture to renew; all tiny models without it")
    parser.add_argument("--gguf", type=Path, help="the GGUF file of a real base")
    arguments = parser.parse_args()
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    if arguments.only in REAL:
        REAL[arguments.only](arguments.only, arguments.gguf)
        return
    for name in [arguments.only] if arguments.only else TINY:
        tiny_model(name)


if __name__ == "__main__":
    main()
