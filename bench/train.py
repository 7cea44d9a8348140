"""Training speed and memory of Hearth beside PyTorch + PEFT, in one run, on the same work.

    python3 bench/train.py                 # builds, installs the peer, runs both, prints the ratios
    python3 bench/train.py --compile       # the peer with torch.compile (slow to start)

Same base (SmolLM2-135M-Instruct, the same file), same number of tokens in one sequence, LoRA rank 8 on all seven
linears, AdamW, every token trained. Each side runs in its own process, one after the other, with all cores; the
first steps are not timed; figures are medians. A row per side is appended to bench/record/<machine>/<date>.csv.
"""

import argparse
import csv
import datetime
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / "target/bench-python"
DATA_DIR = ROOT / "target/test-data"
MODEL = "smollm2-135m-instruct"
COLUMNS = ["time", "side", "precision", "compile", "tokens", "steps", "tokens_per_second", "step_seconds_median",
           "peak_rss_bytes", "cpu", "cores", "version"]


def run(command, **options):
    return subprocess.run([str(part) for part in command], check=True, cwd=ROOT, **options)


def output(command):
    text = run(command, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(text.strip().splitlines()[-1])


def prepare():
    run(["cargo", "build", "--release", "--quiet", "--package", "hearth-cli"])
    if not (DATA_DIR / "models/fireworks" / MODEL).is_dir():
        run([ROOT / "target/release/hearth", "model", "pull", MODEL, "--data-dir", DATA_DIR])
    wanted = (ROOT / "bench/requirements.txt").read_text()
    stamp = ENVIRONMENT / "requirements.stamp"
    if not stamp.exists() or stamp.read_text() != wanted:
        run([sys.executable, "-m", "venv", ENVIRONMENT])
        run([ENVIRONMENT / "bin/python", "-m", "pip", "install", "--quiet", "-r", "bench/requirements.txt"])
        stamp.write_text(wanted)


def cpu_name():
    with open("/proc/cpuinfo") as lines:
        names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def record(rows):
    machine = "-".join(f"{cpu_name()} {os.cpu_count()} cores".lower().split())
    path = ROOT / "bench/record" / machine / f"{datetime.date.today()}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(rows)
    print(f"recorded in {path.relative_to(ROOT)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--precision", choices=["bf16", "f32"], default="bf16")
    parser.add_argument("--compile", action="store_true")
    arguments = parser.parse_args()
    prepare()
    common = ["--tokens", arguments.tokens, "--steps", arguments.steps, "--precision", arguments.precision]
    ours = output([ROOT / "target/release/hearth", "bench", "train", "--model", MODEL, "--data-dir", DATA_DIR,
                   *common, "--json"])
    peer = output([ENVIRONMENT / "bin/python", "bench/peer.py", "--model-dir", DATA_DIR / "models/fireworks" / MODEL,
                   *common, "--warmup", 2, *(["--compile"] if arguments.compile else [])])
    shared = {"time": datetime.datetime.now().isoformat(timespec="seconds"), "precision": arguments.precision,
              "tokens": arguments.tokens, "steps": arguments.steps, "cpu": cpu_name(), "cores": os.cpu_count()}
    version = run(["git", "rev-parse", "--short", "HEAD"], stdout=subprocess.PIPE, text=True).stdout.strip()
    rows = [{**shared, "side": "hearth", "compile": "", "version": version, **ours},
            {**shared, "side": "pytorch+peft", "compile": arguments.compile, "version": peer["torch"], **peer}]
    for row in rows:
        print(f"{row['side']:14} {row['tokens_per_second']:9.1f} tokens/s  {row['peak_rss_bytes'] / 2**20:8.0f} MiB peak")
    print(f"speed ratio  {ours['tokens_per_second'] / peer['tokens_per_second']:.2f}")
    print(f"memory ratio {ours['peak_rss_bytes'] / peer['peak_rss_bytes']:.3f}")
    record(rows)


if __name__ == "__main__":
    main()
