"""Runs `hearth demo` and loads the adapter that it wrote with PEFT over the same base: the logits must agree.

Both sides run in float32 over the same dequantised weights, so what differs is the order of sums. One logit is a sum
of 576 products after 30 layers; an error of a few thousand units in the last place of float32 (6e-8) relative to the
largest logit is what reordering gives. The bound is 1e-3 of the largest logit, and the best token must be the same
wherever the two best logits are further apart than that bound.
"""

import json
import os
import subprocess
import time

import torch
from harness import BASE_DIR, HEARTH, scratch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

RELATIVE_BOUND = 1e-3
DEMO_LIMIT_S = 360
PROMPTS = ["My parcel came with a broken lamp, please help.", "What is the capital of France?"]


def run_demo(data_dir):
    began = time.monotonic()
    process = subprocess.run([HEARTH, "demo", "--json"], stdout=subprocess.PIPE, text=True,
                             env={**os.environ, "HEARTH_DATA_DIR": str(data_dir)})
    assert process.returncode == 0, process.stdout[-4000:]
    figures = json.loads(process.stdout.strip().splitlines()[-1])
    print(f"demo: {time.monotonic() - began:.0f} s, {json.dumps(figures)}")
    return figures


def hearth_logits(adapter, tokens):
    command = [HEARTH, "model", "logits", BASE_DIR, "--adapter", adapter, "--tokens", ",".join(map(str, tokens)), "--json"]
    reply = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return torch.tensor(json.loads(reply)["logits"])


def compare(adapter):
    base = AutoModelForCausalLM.from_pretrained(
        BASE_DIR, gguf_file="model.gguf", dtype=torch.float32, quantization_config=GgufConfig(dequantize=True))
    tokenizer = AutoTokenizer.from_pretrained(adapter)
    model = PeftModel.from_pretrained(base, adapter).eval()
    for prompt in PROMPTS:
        chat = tokenizer.apply_chat_template([{"role": "user", "content": prompt}], add_generation_prompt=True, tokenize=False)
        tokens = tokenizer(chat, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            theirs = model(torch.tensor([tokens])).logits[0]
            with model.disable_adapter():
                plain = model(torch.tensor([tokens])).logits[0]
        ours = hearth_logits(adapter, tokens)
        bound = RELATIVE_BOUND * theirs.abs().max()
        difference = (ours - theirs).abs().max()
        print(f"demo: largest logit {theirs.abs().max():.3f}, largest difference to PEFT {difference:.2e}")
        assert difference <= bound, (difference, bound)
        assert (theirs - plain).abs().max() > 10 * bound, "the adapter changes nothing"
        best = theirs.topk(2, dim=-1)
        clear = best.values[:, 0] - best.values[:, 1] > 2 * bound
        assert (ours.argmax(-1) == best.indices[:, 0])[clear].all()


def main():
    with scratch() as folder:
        (folder / "models").symlink_to(BASE_DIR.parent.parent)
        figures = run_demo(folder)
        compare(figures["adapter_dir"])
    print("demo: the adapter gives the same logits under PEFT")


if __name__ == "__main__":
    main()
