"""What `hearth dataset check` takes: speed and memory for files of 10 MB, 500 MB and 5 GB, alone and with a tokenizer.

    python3 bench/dataset.py [--sizes 10,500,5000] [--model smollm2-135m-instruct] [--all] [--save]

Generates chat rows (natural words, the same ones every time) under target/bench-dataset and deletes them afterwards, largest
last. Without a model every row is parsed, checked and compared; with one it is rendered and tokenised too, with the mask of
what is learnt. That is done up to 500 MB, with --all for every size. The peer is what a script does with Hugging Face's
libraries: `json.loads`, the template's text by joining, `encode_batch_fast` of 1,000 rows on all cores; it makes token ids alone.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import figures
import rows

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
HEARTH = TARGET / "release/hearth"
WORK = ROOT / "target/bench-dataset"
ENVIRONMENT = ROOT / "target/bench-tokenizers"
# The peer, pinned: the library that Hearth uses too.
PEER = "tokenizers==0.23.2"
TOKENISED_MAX_MB = 500
PEER_MB = 500
# Texts that rows are put together of: making each anew would take longer than what is measured.
TEXTS = 20_000
COLUMNS = ["time", "size_mb", "rows", "side", "model", "seconds", "cpu_seconds", "mb_per_second", "mb_per_core_second",
           "peak_rss_mib", "tokens", "ratio", "cpu", "cores", "version"]


def generate(path, size):
    """Chat rows of `size` bytes, one to three questions each; gives their number."""
    generator = random.Random(rows.SEED)
    texts = [json.dumps(rows.sentences(generator, generator.randint(20, 160)))[1:-1] for _ in range(TEXTS)]
    written = count = 0
    with open(path, "w") as file:
        while written < size:
            messages = []
            for turn in range(generator.choice([1, 1, 2, 3])):
                # A number in words keeps rows apart.
                about = " ".join(rows.WORDS[count // 100 ** place % 100] for place in range(4)) if turn == 0 else ""
                messages.append(f'{{"role": "user", "content": "{about} {generator.choice(texts)}"}}')
                answer = generator.choice(texts) + "\\n\\n" + generator.choice(texts)
                messages.append(f'{{"role": "assistant", "content": "{answer}"}}')
            line = f'{{"messages": [{", ".join(messages)}]}}\n'
            written += file.write(line)
            count += 1
    return count


def measured(command):
    """Runs a command; gives its output, seconds, seconds of all processors, and peak memory in MiB."""
    started = time.monotonic()
    with subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE) as process:
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"{command} ended with {process.returncode}"
    return output, time.monotonic() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def peer(path, tokenizer):
    """What the peer's process does; prints the number of tokens."""
    from tokenizers import Tokenizer
    loaded = Tokenizer.from_file(tokenizer)
    tokens = 0
    batch = []

    def flush():
        nonlocal tokens
        tokens += sum(len(encoding.ids) for encoding in loaded.encode_batch_fast(batch, add_special_tokens=False))
        batch.clear()

    with open(path) as file:
        for line in file:
            messages = json.loads(line)["messages"]
            batch.append("".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages))
            if len(batch) == 1000:
                flush()
    flush()
    print(tokens)


def install_peer():
    python = ENVIRONMENT / "bin/python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", ENVIRONMENT], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", PEER], check=True)
    return python


def line_of(size_mb, count, side, model, result, tokens, ratio=None):
    _, seconds, cpu_seconds, peak = result
    line = {"size_mb": size_mb, "rows": count, "side": side, "model": model, "seconds": round(seconds, 2),
            "cpu_seconds": round(cpu_seconds, 2), "mb_per_second": round(size_mb / seconds, 1),
            "mb_per_core_second": round(size_mb / cpu_seconds, 1), "peak_rss_mib": round(peak), "tokens": tokens,
            "ratio": ratio}
    shown = f"{size_mb:>6} MB {count:>9} rows  {side:<12} {model:<24} {seconds:8.1f} s {line['mb_per_second']:8.1f} MB/s"
    shown += f" {line['mb_per_core_second']:7.1f} MB/s a core {line['peak_rss_mib']:6} MiB"
    print(shown + (f"  {ratio:.2f} x the peer" if ratio else ""), flush=True)
    return line


def measure(size_mb, options, model_dir):
    path = WORK / f"{size_mb}.jsonl"
    count = generate(path, size_mb * 1_000_000)
    table = []
    try:
        # Once to bring the file into the page cache, where it fits.
        with open(path, "rb") as file:
            while file.read(1 << 24):
                pass
        result = measured([HEARTH, "dataset", "check", path, "--json"])
        assert json.loads(result[0])["rows"] == count
        table.append(line_of(size_mb, count, "hearth", "", result, None))
        if size_mb <= TOKENISED_MAX_MB or options.all:
            result = measured([HEARTH, "dataset", "check", path, "--json", "--model", model_dir])
            tokens = json.loads(result[0])["statistics"]["tokens"]["tokens"]
            ratio = None
            if size_mb == PEER_MB:
                python = install_peer()
                other = measured([python, __file__, "--peer", path, model_dir / "tokenizer.json"])
                ratio = other[1] / result[1]
                table.append(line_of(size_mb, count, "tokenizers", options.model, other, int(other[0])))
            table.append(line_of(size_mb, count, "hearth", options.model, result, tokens, ratio))
    finally:
        path.unlink()
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="10,500,5000", help="megabytes of each file")
    parser.add_argument("--model", default="smollm2-135m-instruct", help="a model under --models")
    parser.add_argument("--models", type=Path, default=ROOT / "target/test-data/models/fireworks", help="directory of models")
    parser.add_argument("--hearth", type=Path, help="a built program, instead of building one")
    parser.add_argument("--all", action="store_true", help="with the tokenizer also above 500 MB")
    parser.add_argument("--save", action="store_true", help="write bench/record/<machine>/dataset-<date>.csv")
    parser.add_argument("--peer", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        peer(*options.peer)
        return
    global HEARTH
    if options.hearth:
        HEARTH = options.hearth
    else:
        subprocess.run(["cargo", "build", "--release", "--quiet", "--package", "hearth-cli"], cwd=ROOT, check=True)
    WORK.mkdir(parents=True, exist_ok=True)
    table = []
    for size_mb in map(int, options.sizes.split(",")):
        table += measure(size_mb, options, options.models / options.model)
    if options.save:
        figures.save("dataset", table, COLUMNS)


if __name__ == "__main__":
    main()
