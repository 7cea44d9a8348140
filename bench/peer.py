"""One process of the peer: PyTorch + PEFT trains the same base on the same number of tokens. Started by train.py."""

import argparse
import json
import resource
import statistics
import time
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, GgufConfig

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model-dir", type=Path, required=True)
    parser.add_argument("--tokens", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--warmup", type=int, required=True)
    parser.add_argument("--precision", choices=["bf16", "f32"], required=True)
    parser.add_argument("--compile", action="store_true")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    dtype = torch.bfloat16 if arguments.precision == "bf16" else torch.float32
    # Dense weights, as most people train; transformers would otherwise keep the GGUF blocks packed.
    model = AutoModelForCausalLM.from_pretrained(
        arguments.model_dir, gguf_file="model.gguf", dtype=dtype, quantization_config=GgufConfig(dequantize=True))
    model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules=TARGETS, task_type="CAUSAL_LM"))
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    ids = torch.randint(0, model.config.vocab_size, (1, arguments.tokens))
    call = torch.compile(model) if arguments.compile else model
    seconds = []
    for _ in range(arguments.warmup + arguments.steps):
        began = time.perf_counter()
        loss = call(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        loss.item()
        seconds.append(time.perf_counter() - began)
    timed = seconds[arguments.warmup:]
    median = statistics.median(timed)
    print(json.dumps({
        "tokens_per_second": arguments.tokens / median,
        "step_seconds_median": median,
        "step_seconds": timed,
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }))


if __name__ == "__main__":
    main()
