"""One process of the peer: PyTorch + PEFT on the same base and the same tokens. Started by train.py.

Prints one JSON object. A step is forward, backward and AdamW over all samples of the step; with --forward it is the
forward and the loss alone. Layouts:

- packed: all samples of a step in one row of tokens with positions that restart, from which transformers makes the
  block-diagonal mask;
- padded: one row per sample, padded to the longest of its micro-batch, as TRL's SFTTrainer does by default.
"""

import argparse
import json
import os
import resource
import statistics
import time
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
IGNORED = -100


def random_samples(tokens, sequence_length, vocabulary):
    lengths = [min(sequence_length, tokens - at) for at in range(0, tokens, sequence_length)]
    return [[(token, True) for token in torch.randint(0, vocabulary, (length,)).tolist()] for length in lengths]


def chat_samples(path, model_dir):
    """Tokens of each row with whether they are trained: the assistant's turns with their end marks."""
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    samples = []
    for line in path.read_text().splitlines():
        messages = json.loads(line)["messages"]
        sample, text = [], ""
        for i, message in enumerate(messages):
            trained = message["role"] == "assistant"
            for end, prompt in ([(i, True), (i + 1, False)] if trained else [(i + 1, False)]):
                longer = tokenizer.apply_chat_template(messages[:end], tokenize=False, add_generation_prompt=prompt) \
                    if end else text
                ids = tokenizer(longer[len(text):], add_special_tokens=False)["input_ids"]
                sample += [(token, trained and not prompt) for token in ids]
                text = longer
        samples.append(sample)
    return samples


def micro_batch(samples, layout):
    if layout == "packed":
        ids = [token for sample in samples for token, _ in sample]
        labels = [token if trained and i else IGNORED for sample in samples for i, (token, trained) in enumerate(sample)]
        positions = [i for sample in samples for i in range(len(sample))]
        batch = {"input_ids": [ids], "labels": [labels]}
        if len(samples) > 1:
            batch["position_ids"] = [positions]
    else:
        longest = max(map(len, samples))
        pad = lambda row, value: row + [value] * (longest - len(row))
        batch = {"input_ids": [pad([token for token, _ in sample], 0) for sample in samples],
                 "labels": [pad([token if trained else IGNORED for token, trained in sample], IGNORED)
                            for sample in samples],
                 "attention_mask": [pad([1] * len(sample), 0) for sample in samples]}
    return {name: torch.tensor(rows) for name, rows in batch.items()}


def seconds_since_process_start():
    with open("/proc/self/stat") as stat, open("/proc/uptime") as uptime:
        ticks = int(stat.read().rsplit(") ", 1)[1].split()[19])
        return round(float(uptime.read().split()[0]) - ticks / os.sysconf("SC_CLK_TCK"), 2)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model-dir", type=Path, required=True)
    parser.add_argument("--rows", type=Path)
    parser.add_argument("--batch", type=int, default=8, help="rows of a step, with --rows")
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--sequence-length", type=int, default=0)
    parser.add_argument("--layout", choices=["packed", "padded"], default="packed")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--warmup", type=int, required=True)
    parser.add_argument("--precision", choices=["bf16", "f32"], required=True)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--forward", action="store_true")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    dtype = torch.bfloat16 if arguments.precision == "bf16" else torch.float32
    # Dense weights, as most people train; transformers would otherwise keep the GGUF blocks packed.
    model = AutoModelForCausalLM.from_pretrained(
        arguments.model_dir, gguf_file="model.gguf", dtype=dtype, quantization_config=GgufConfig(dequantize=True))
    model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules=TARGETS, task_type="CAUSAL_LM"))
    model.train(not arguments.forward)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    if arguments.rows:
        samples = chat_samples(arguments.rows, arguments.model_dir)
        groups = [samples[i:i + arguments.batch] for i in range(0, len(samples), arguments.batch)]
    else:
        groups = [random_samples(arguments.tokens, arguments.sequence_length or arguments.tokens,
                                 model.config.vocab_size)]
    batches = [micro_batch(group, arguments.layout) for group in groups]
    tokens = [sum(map(len, group)) for group in groups]
    call = torch.compile(model) if arguments.compile else model
    seconds, done = [], []
    for step in range(arguments.warmup + arguments.steps):
        at = step % len(batches)
        began = time.perf_counter()
        with torch.inference_mode(arguments.forward):
            loss = call(**batches[at], use_cache=False).loss
        if not arguments.forward:
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        loss.item()
        seconds.append(time.perf_counter() - began)
        if step == 0:
            seconds_to_first_step = seconds_since_process_start()
        done.append(tokens[at])
    timed, done = seconds[arguments.warmup:], done[arguments.warmup:]
    print(json.dumps({
        "precision": arguments.precision,
        "layout": arguments.layout,
        "forward": arguments.forward,
        "compile": arguments.compile,
        "steps": arguments.steps,
        "tokens_per_step": sum(done) / len(done),
        "sequence_length": sum(tokens) / sum(map(len, groups)),
        "tokens_per_second": statistics.median(n / s for n, s in zip(done, timed)),
        "step_seconds_median": statistics.median(timed),
        "step_seconds_p95": sorted(timed)[-(-len(timed) * 95 // 100) - 1],
        "step_seconds": timed,
        "seconds_to_first_step": seconds_to_first_step,
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "backend": f"{torch.get_num_threads()} threads",
        "version": torch.__version__,
    }))


if __name__ == "__main__":
    main()
