"""Training speed and memory of Hearth on a base of 7 billion weights, mapped from its file.

    python3 bench/large.py                          # Mistral's shape: 7.2 billion weights, a file of 4.1 GB
    python3 bench/large.py --kv-heads 32 --intermediate 11008     # Llama 2's

Writes a GGUF file of architecture llama with random quantised blocks (Q4_K linears and embeddings, Q6_K head) under
target/, runs `hearth bench train` on it and removes it. Speed and memory do not depend on what the weights are, only
on their form. Memory is given twice: all resident pages, and those that are no file's, which the system cannot drop.
A row is appended to bench/record/<machine>/large-<date>.csv.
"""

import argparse
import csv
import datetime
import json
import os
import platform
import random
import resource
import shutil
import struct
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODEL_DIR = ROOT / "target/bench-large"
HIDDEN, LAYERS, HEADS, VOCABULARY = 4096, 32, 32, 32000
ALIGNMENT = 32
# GGUF's numbers of value kinds and tensor types.
UINT32, FLOAT32, STRING, ARRAY = 4, 6, 8, 9
F32, Q4_K, Q6_K = 0, 12, 14
BLOCK_BYTES = {Q4_K: 144, Q6_K: 210}
BLOCK = 256
# Scales of blocks that give weights with a deviation of about 0.01.
Q4_K_SCALE, Q4_K_MIN, Q6_K_SCALE = 4e-5, 3e-4, 1e-5
COLUMNS = ["time", "parameter_count", "kv_heads", "intermediate_size", "file_bytes", "precision", "tokens", "steps",
           "tokens_per_second", "step_seconds_median", "load_seconds", "peak_rss_bytes", "peak_anonymous_bytes",
           "cpu_seconds", "last_loss", "load_average", "cpu", "cores", "version"]


def tensors(intermediate, kv_heads):
    """Name, shape (fastest dimension first, as GGUF has it) and type of every tensor."""
    kv = HIDDEN // HEADS * kv_heads
    yield "token_embd.weight", (HIDDEN, VOCABULARY), Q4_K
    yield "output_norm.weight", (HIDDEN,), F32
    yield "output.weight", (HIDDEN, VOCABULARY), Q6_K
    for layer in range(LAYERS):
        for name, shape in [("attn_norm", (HIDDEN,)), ("ffn_norm", (HIDDEN,))]:
            yield f"blk.{layer}.{name}.weight", shape, F32
        for name, shape in [("attn_q", (HIDDEN, HIDDEN)), ("attn_k", (HIDDEN, kv)), ("attn_v", (HIDDEN, kv)),
                            ("attn_output", (HIDDEN, HIDDEN)), ("ffn_gate", (HIDDEN, intermediate)),
                            ("ffn_up", (HIDDEN, intermediate)), ("ffn_down", (intermediate, HIDDEN))]:
            yield f"blk.{layer}.{name}.weight", shape, Q4_K


def data(shape, kind):
    """Ones for a norm; random blocks with small scales for a matrix."""
    count = shape[0] * (shape[1] if len(shape) == 2 else 1)
    if kind == F32:
        return struct.pack("<f", 1.0) * count
    size, blocks = BLOCK_BYTES[kind], count // BLOCK
    bytes_ = bytearray(random.randbytes(size * blocks))
    places = {0: Q4_K_SCALE, 2: Q4_K_MIN} if kind == Q4_K else {208: Q6_K_SCALE}
    for place, scale in places.items():
        for i, byte in enumerate(struct.pack("<e", scale)):
            bytes_[place + i::size] = bytes([byte]) * blocks
    return bytes_


def size_bytes(shape, kind):
    count = shape[0] * (shape[1] if len(shape) == 2 else 1)
    return 4 * count if kind == F32 else count // BLOCK * BLOCK_BYTES[kind]


def string(text):
    return struct.pack("<Q", len(text)) + text.encode()


def metadata(intermediate, kv_heads):
    number = lambda n: struct.pack("<II", UINT32, n)
    real = lambda x: struct.pack("<If", FLOAT32, x)
    text = lambda s: struct.pack("<I", STRING) + string(s)
    tokens = [f"<{i}>" for i in range(VOCABULARY)]
    listed = struct.pack("<IIQ", ARRAY, STRING, len(tokens)) + b"".join(map(string, tokens))
    pairs = {
        "general.architecture": text("llama"), "general.name": text("random weights"),
        "general.alignment": number(ALIGNMENT), "llama.block_count": number(LAYERS),
        "llama.context_length": number(4096), "llama.embedding_length": number(HIDDEN),
        "llama.feed_forward_length": number(intermediate), "llama.attention.head_count": number(HEADS),
        "llama.attention.head_count_kv": number(kv_heads),
        "llama.attention.layer_norm_rms_epsilon": real(1e-5), "llama.rope.freq_base": real(10_000.0),
        "tokenizer.ggml.model": text("gpt2"), "tokenizer.ggml.tokens": listed,
    }
    return len(pairs), b"".join(string(key) + value for key, value in pairs.items())


def write_gguf(path, intermediate, kv_heads):
    listed = list(tensors(intermediate, kv_heads))
    count, pairs = metadata(intermediate, kv_heads)
    header = b"GGUF" + struct.pack("<IQQ", 3, len(listed), count) + pairs
    offset = 0
    for name, shape, kind in listed:
        header += string(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape)
        header += struct.pack("<IQ", kind, offset)
        offset += -(-size_bytes(shape, kind) // ALIGNMENT) * ALIGNMENT
    random.seed(1)
    with path.open("wb") as file:
        file.write(header)
        for _, shape, kind in listed:
            file.write(bytes(-file.tell() % ALIGNMENT))
            file.write(data(shape, kind))


def write_model(intermediate, kv_heads):
    MODEL_DIR.mkdir(parents=True, exist_ok=True)
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": HIDDEN,
        "intermediate_size": intermediate, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "num_key_value_heads": kv_heads, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": False,
        "vocab_size": VOCABULARY, "max_position_embeddings": 4096,
    }
    (MODEL_DIR / "config.json").write_text(json.dumps(config))
    write_gguf(MODEL_DIR / "model.gguf", intermediate, kv_heads)


def anonymous_bytes(pid):
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))


def train(hearth, arguments):
    """The report of `hearth bench train`, with the most memory that was no file's, and the processor time of loading,
    the step that warms up and the measured steps: on a machine that does other work, it says more than the speed."""
    command = [hearth, "bench", "train", "--model", MODEL_DIR, "--tokens", arguments.tokens, "--steps", arguments.steps,
               "--precision", arguments.precision, "--json"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True)
    peak = 0
    while process.poll() is None:
        peak = max(peak, anonymous_bytes(process.pid))
        time.sleep(0.1)
    text = process.stdout.read()
    if process.returncode != 0:
        raise SystemExit(f"hearth bench train failed with {process.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return json.loads(text.strip().splitlines()[-1]) | {"peak_anonymous_bytes": peak, "cpu_seconds": cpu_seconds}


def cpu_name():
    with open("/proc/cpuinfo") as lines:
        names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def record(row):
    machine = "-".join(f"{cpu_name()} {os.cpu_count()} cores".lower().split())
    path = ROOT / "bench/record" / machine / f"large-{datetime.date.today()}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)
    print(f"recorded in {path.relative_to(ROOT)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--precision", choices=["bf16", "f32"], default="bf16")
    parser.add_argument("--intermediate", type=int, default=14336)
    parser.add_argument("--kv-heads", type=int, default=8)
    parser.add_argument("--hearth", type=Path, help="the binary to measure; built when not given")
    parser.add_argument("--version", help="what to record as the version of --hearth; this checkout's when not given")
    parser.add_argument("--keep", action="store_true", help="leave the model in target/bench-large")
    arguments = parser.parse_args()
    head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, check=True, text=True,
                          stdout=subprocess.PIPE).stdout.strip()
    hearth = arguments.hearth
    if hearth is None:
        subprocess.run(["cargo", "build", "--release", "--quiet", "--package", "hearth-cli"], cwd=ROOT, check=True)
        hearth = ROOT / "target/release/hearth"
    try:
        started = time.monotonic()
        write_model(arguments.intermediate, arguments.kv_heads)
        file_bytes = (MODEL_DIR / "model.gguf").stat().st_size
        print(f"wrote {file_bytes / 1e9:.2f} GB in {time.monotonic() - started:.0f} s", flush=True)
        report = train(hearth, arguments)
    finally:
        if not arguments.keep:
            shutil.rmtree(MODEL_DIR, ignore_errors=True)
    row = {**report, "time": datetime.datetime.now().isoformat(timespec="seconds"), "kv_heads": arguments.kv_heads,
           "intermediate_size": arguments.intermediate, "file_bytes": file_bytes, "tokens": arguments.tokens,
           "steps": arguments.steps, "load_average": round(os.getloadavg()[0], 1), "cpu": cpu_name(),
           "cores": os.cpu_count(), "version": arguments.version or head}
    print(f"{report['parameter_count'] / 1e9:.2f} billion weights, loaded in {report['load_seconds']:.1f} s")
    print(f"{report['tokens_per_second']:.2f} tokens/s, {report['cpu_seconds']:.0f} s of processor time, "
          f"loss {report['last_loss']:.2f}")
    print(f"peak memory {report['peak_rss_bytes'] / 2**30:.2f} GiB, "
          f"of it {report['peak_anonymous_bytes'] / 2**30:.2f} GiB of no file")
    record(row)


if __name__ == "__main__":
    main()
