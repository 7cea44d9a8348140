"""Hearth in bf16 learns real conversations as well as PyTorch and PEFT in float32 do.

The rows are turns of the BYU Chit-Chat Challenge, conversations between people (PyPI package `chitchat-dataset`, MIT
licence), which this script downloads with pip. Held-out rows come from other conversations than training rows.
Both sides train from the same initial adapter, on the same tokens with the same weights, in the same batches and
order, with the same AdamW and the same constant rate:

- the initial adapter is what Hearth writes after one step at a rate of 1e-30, which changes no bit of A and leaves B
  at zero for every purpose;
- the order follows from Hearth's documented shuffle (`crates/data/src/pack.rs`), computed here again; the tokens and
  trained tokens of every step must equal those of Hearth's events, or the script stops before it trains the peer.

The held-out loss of Hearth's adapter, as Hearth reports it, must be within 0.5 % of the peer's. Hearth's adapter is also
scored under PEFT in float32, and both adapters answer a few held-out questions. PEFT in float32 trains some 150 tokens
per second on two cores; the default of 2000 rows for 3 epochs is then a run of 40 to 60 minutes.

    target/python/bin/python conformance/quality.py [--rows N] [--epochs N] [--rate RATE]
"""

import argparse
import json
import random
import subprocess
import sys
import time
import zipfile

import numpy as np
import torch
from harness import BASE_DIR, BASE_NAME, HEARTH, scratch, write_jsonl
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
from transformers.utils import logging

PACKAGE = "chitchat-dataset==0.9.0"
SYSTEM = "You chat with a friend."
TURN_CHARACTERS = (8, 90)
EVAL_ROWS = 200
EVAL_BATCH_ROWS = 16
BATCH_ROWS = 8
RANK = 8
SEED = 7
RATE = 1e-3
WEIGHT_DECAY = 0.01
BOUND = 0.005
QUESTIONS = 4
ANSWER_TOKENS = 32
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def conversations(folder):
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, PACKAGE]
    subprocess.run(command, check=True)
    [wheel] = folder.glob("chitchat_dataset-*.whl")
    with zipfile.ZipFile(wheel) as archive, archive.open("chitchat_dataset/dataset.json") as file:
        data = json.load(file)
    return [[" ".join(message["text"].strip() for message in turn) for turn in data[key]["messages"]] for key in sorted(data)]


def rows_of(conversation):
    """Pairs of turns that follow each other, both of a middling length and in plain ASCII."""
    shortest, longest = TURN_CHARACTERS
    fits = [shortest <= len(turn) <= longest and turn.isascii() for turn in conversation]
    at = 0
    while at + 1 < len(conversation):
        if fits[at] and fits[at + 1]:
            yield {"messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": conversation[at]},
                                {"role": "assistant", "content": conversation[at + 1]}]}
            at += 1
        at += 1


def split(folder, count):
    """Training rows and held-out rows, of different conversations."""
    generator = random.Random(SEED)
    found = conversations(folder)
    generator.shuffle(found)
    tenth = len(found) // 10
    held_out = [row for conversation in found[:tenth] for row in rows_of(conversation)]
    train = [row for conversation in found[tenth:] for row in rows_of(conversation)]
    held_out_count = min(EVAL_ROWS, max(32, count // 10))
    assert len(train) >= count and len(held_out) >= held_out_count, (len(train), len(held_out))
    return generator.sample(train, count), generator.sample(held_out, held_out_count)


def hearth(run_dir, rows, eval_rows, epochs, rate):
    run_dir.mkdir()
    job = {
        "version": 1, "base_model_dir": str(BASE_DIR), "base_model_name": BASE_NAME, "train_files": [str(rows)],
        "eval_files": [str(path) for path in eval_rows], "chat_template": None, "seed": SEED, "epochs": epochs,
        "learning_rate": rate, "learning_rate_warmup_steps": 0, "weight_decay": WEIGHT_DECAY, "lora_rank": RANK,
        "lora_alpha": 2.0 * RANK, "target_modules": TARGETS, "max_context_length": 256, "batch_size_tokens": 1024,
        "batch_size_samples": BATCH_ROWS, "gradient_accumulation_steps": 1, "micro_batch_tokens": 2048,
        "checkpoint_interval_steps": 0, "eval_interval_steps": 0, "backend": "cpu", "precision": "bf16", "threads": 0,
    }
    (run_dir / "job.json").write_text(json.dumps(job))
    with open(run_dir / "trainer.log", "ab") as log:
        code = subprocess.run([HEARTH, "train", run_dir], stdout=log, stderr=log).returncode
    assert code == 0, (run_dir / "trainer.log").read_text()[-2000:]
    return [json.loads(line) for line in (run_dir / "events.jsonl").read_text().splitlines()]


def of_type(events, name):
    return [event for event in events if event["type"] == name]


def chacha8(key, words):
    """The first words of ChaCha8's key stream with nonce 0 (Bernstein, 2008)."""
    counters = np.arange((words + 15) // 16, dtype=np.uint64)
    start = np.empty((16, len(counters)), dtype=np.uint32)
    start[:4] = np.frombuffer(b"expand 32-byte k", dtype="<u4")[:, None]
    start[4:12] = np.frombuffer(key, dtype="<u4")[:, None]
    start[12], start[13], start[14:] = counters & 0xFFFFFFFF, counters >> 32, 0
    x = start.copy()
    def quarter(a, b, c, d):
        for into, other, mix, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            x[into] += x[other]
            x[mix] ^= x[into]
            x[mix] = (x[mix] << np.uint32(turn)) | (x[mix] >> np.uint32(32 - turn))
    for _ in range(4):
        for i in range(4):
            quarter(i, 4 + i, 8 + i, 12 + i)
        for i in range(4):
            quarter(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
    return (x + start).T.ravel()[:words]


def key_from_u64(state):
    """How rand_core makes a seed of 32 bytes from a number: eight outputs of PCG32."""
    key = b""
    for _ in range(8):
        state = (state * 6364136223846793005 + 11634580027462260723) % 2**64
        mixed, turn = ((state >> 18) ^ state) >> 27 & 0xFFFFFFFF, state >> 59
        key += ((mixed >> turn | mixed << (32 - turn)) & 0xFFFFFFFF).to_bytes(4, "little")
    return key


def batches(count, epoch):
    """Hearth's batches of one epoch, as indices of rows."""
    words = chacha8(key_from_u64(SEED + epoch), 2 * count).astype(object)
    order = list(range(count))
    for draw, last in enumerate(range(count - 1, 0, -1)):
        pick = (words[2 * draw] + (words[2 * draw + 1] << 32)) * (last + 1) >> 64
        order[last], order[pick] = order[pick], order[last]
    return [order[at:at + BATCH_ROWS] for at in range(0, count, BATCH_ROWS)]


def sample(tokenizer, row):
    """Tokens of a row and, per token, whether it is trained: the answer up to its end mark."""
    prompt = tokenizer.apply_chat_template(row["messages"][:-1], tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template(row["messages"], tokenize=False)
    assert whole.startswith(prompt)
    before, after = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (prompt, whole[len(prompt):]))
    end = after.index(tokenizer.eos_token_id) + 1
    return before + after, [False] * len(before) + [True] * end + [False] * (len(after) - end)


def loss_sum(model, samples):
    """Sum of the negative log-likelihoods of the trained tokens, and their number."""
    longest = max(len(tokens) for tokens, _ in samples)
    ids = torch.zeros((len(samples), longest), dtype=torch.int64)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for row, (tokens, trained) in enumerate(samples):
        ids[row, :len(tokens)], mask[row, :len(tokens)] = torch.tensor(tokens), 1
        labels[row, :len(tokens)] = torch.where(torch.tensor(trained), torch.tensor(tokens), -100)
    hidden = model.get_base_model().model(input_ids=ids, attention_mask=mask).last_hidden_state[:, :-1]
    picked = labels[:, 1:] != -100
    logits = model.get_base_model().lm_head(hidden[picked])
    return torch.nn.functional.cross_entropy(logits, labels[:, 1:][picked], reduction="sum"), int(picked.sum())


def evaluate(model, samples):
    with torch.no_grad():
        sums = [loss_sum(model, samples[at:at + EVAL_BATCH_ROWS]) for at in range(0, len(samples), EVAL_BATCH_ROWS)]
    return sum(loss.item() for loss, _ in sums) / sum(count for _, count in sums)


def plan_like(steps, samples, epochs):
    """The batches of the whole run; fails unless their tokens are those of Hearth's steps."""
    plan = [[samples[i] for i in batch] for epoch in range(epochs) for batch in batches(len(samples), epoch)]
    found = [(sum(len(tokens) for tokens, _ in batch), sum(sum(trained) for _, trained in batch)) for batch in plan]
    assert found == [(step["tokens"], step["trained_tokens"]) for step in steps], "the batches are not Hearth's"
    return plan


def train_peer(model, plan, rate, steps):
    """The same steps as Hearth's; returns the largest relative difference of a step's loss."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.999), eps=1e-8, weight_decay=WEIGHT_DECAY)
    largest = 0.0
    for batch, step in zip(plan, steps, strict=True):
        optimizer.zero_grad()
        total, count = loss_sum(model, batch)
        loss = total / count
        loss.backward()
        optimizer.step()
        largest = max(largest, abs(step["loss"] / loss.item() - 1))
        if step["step"] % 25 in (0, 1) or step["step"] == len(plan):
            print(f"quality: step {step['step']}/{len(plan)} loss Hearth {step['loss']:.4f} peer {loss.item():.4f}", flush=True)
    return largest


def answers(model, tokenizer, rows):
    out = []
    for row in rows:
        chat = tokenizer.apply_chat_template(row["messages"][:-1], tokenize=False, add_generation_prompt=True)
        ids = tokenizer(chat, add_special_tokens=False, return_tensors="pt")
        reply = model.generate(**ids, max_new_tokens=ANSWER_TOKENS, do_sample=False, eos_token_id=tokenizer.eos_token_id,
                               pad_token_id=tokenizer.eos_token_id)
        out.append(tokenizer.decode(reply[0, ids["input_ids"].shape[1]:], skip_special_tokens=True).strip())
    return out


def compare(folder, rows, eval_rows, arguments):
    files = write_jsonl(folder / "train.jsonl", rows), write_jsonl(folder / "eval.jsonl", eval_rows)
    one = write_jsonl(folder / "one.jsonl", rows[:1])
    hearth(folder / "initial", one, [], 1, 1e-30)
    began = time.monotonic()
    events = hearth(folder / "run", files[0], [files[1]], arguments.epochs, arguments.rate)
    hearth_s = time.monotonic() - began
    [validated] = of_type(events, "validated")
    print(f"quality: {len(rows)} rows, {validated['tokens_per_epoch']} tokens per epoch, {arguments.epochs} epochs, "
          f"Hearth took {hearth_s:.0f} s", flush=True)
    assert validated["dropped_too_long"] == 0

    tokenizer = AutoTokenizer.from_pretrained(folder / "run/output")
    steps = of_type(events, "step")
    plan = plan_like(steps, [sample(tokenizer, row) for row in rows], arguments.epochs)
    base = AutoModelForCausalLM.from_pretrained(
        BASE_DIR, gguf_file="model.gguf", dtype=torch.float32, quantization_config=GgufConfig(dequantize=True))
    model = PeftModel.from_pretrained(base, folder / "initial/output", adapter_name="peer", is_trainable=True)
    held_out = [sample(tokenizer, row) for row in eval_rows]
    model.eval()
    before = evaluate(model, held_out)
    began = time.monotonic()
    largest = train_peer(model, plan, arguments.rate, steps)
    tokens = validated["tokens_per_epoch"] * arguments.epochs
    peer_s = time.monotonic() - began
    peer, peer_answers = evaluate(model, held_out), answers(model, tokenizer, eval_rows[:QUESTIONS])
    model.load_adapter(folder / "run/output", adapter_name="hearth")
    model.set_adapter("hearth")
    under_peft, hearth_answers = evaluate(model, held_out), answers(model, tokenizer, eval_rows[:QUESTIONS])
    reported = of_type(events, "eval")[-1]["loss"]

    for row, ours, theirs in zip(eval_rows, hearth_answers, peer_answers):
        print(f"  question {row['messages'][1]['content']}\n    person {row['messages'][2]['content']}\n"
              f"    Hearth {ours}\n    peer   {theirs}")
    print(f"quality: the peer took {peer_s:.0f} s ({tokens / peer_s:.0f} tokens per second)")
    print(f"quality: largest difference of a step's loss {largest:.2%}")
    print(f"quality: held-out loss before {before:.4f}; Hearth bf16 {reported:.4f} (its adapter under PEFT float32 "
          f"{under_peft:.4f}); PyTorch + PEFT float32 {peer:.4f}; difference {reported / peer - 1:+.3%}")
    assert peer < before, "the peer learnt nothing"
    assert abs(reported / peer - 1) <= BOUND and abs(under_peft / peer - 1) <= BOUND, "the adapters are not equally good"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2000, help="training rows")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rate", type=float, default=RATE, help="learning rate of both sides")
    arguments = parser.parse_args()
    logging.disable_progress_bar()
    with scratch() as folder:
        rows, eval_rows = split(folder, arguments.rows)
        compare(folder, rows, eval_rows, arguments)
    print("quality: Hearth and the peer learn equally well")


if __name__ == "__main__":
    main()
