"""Training speed and memory of Hearth beside PyTorch + PEFT, in one run, on the same work.

    python3 bench/train.py                 # one comparison: a packed micro-batch, the peer not compiled
    python3 bench/train.py --compile       # the same with torch.compile (slow to start)
    python3 bench/train.py --table         # every figure with what it must reach; takes about half an hour

Builds Hearth, installs the peer into target/bench-python, and runs both, one after the other, each in its own process
with all cores. What is measured and why the peer runs as it does stands in bench/README.md. Every run is a row of
bench/record/<machine>/runs-<date>.csv, every line of the table one of table-<date>.csv.
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

import rows
import table

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
HEARTH = TARGET / "release/hearth"
ENVIRONMENT = ROOT / "target/bench-python"
DATA_DIR = ROOT / "target/test-data"
MODELS = DATA_DIR / "models/fireworks"
MODEL = "smollm2-135m-instruct"
PARTS = ["gemm", "attention", "loss", "elementwise", "optimiser", "data", "other"]
RUN_COLUMNS = [
    "time", "case", "side", "model", "precision", "layout", "forward", "compile", "steps", "tokens_per_step",
    "sequence_length", "tokens_per_second", "step_seconds_median", "step_seconds_p95", "peak_rss_bytes",
    "seconds_to_first_step", "flop_per_token", "ceiling_flop_per_second", "share_of_ceiling",
    *(f"{part}_seconds" for part in PARTS), "backend", "cpu", "cores", "version"]


def run(command, **options):
    return subprocess.run([str(part) for part in command], check=True, cwd=ROOT, **options)


def output(command):
    # Progress bars of the peer's libraries stay out of the log.
    text = run(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "TQDM_DISABLE": "1"}).stdout
    return json.loads(text.strip().splitlines()[-1])


def prepare():
    run(["cargo", "build", "--release", "--quiet", "--package", "hearth-cli"])
    if not (MODELS / MODEL).is_dir():
        run([HEARTH, "model", "pull", MODEL, "--data-dir", DATA_DIR])
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


class Bench:
    """Runs either side and records what came."""

    def __init__(self):
        version = run(["git", "rev-parse", "--short", "HEAD"], stdout=subprocess.PIPE, text=True).stdout.strip()
        # Generated records do not make the program another one.
        changed = run(["git", "status", "--porcelain", "--", "crates", "bench", ":!bench/record"],
                      stdout=subprocess.PIPE, text=True).stdout.strip()
        self.version = version + ("-changed" if changed else "")
        self.machine = {"cpu": cpu_name(), "cores": os.cpu_count()}

    def hearth(self, case, flags, model=MODEL):
        """One run of `hearth bench train`; its report."""
        report = output([HEARTH, "bench", "train", "--model", model, "--data-dir", DATA_DIR, *flags, "--json"])
        parts = {f"{part}_seconds": report["parts"][part]["seconds"] for part in PARTS}
        self._record_run(case, "hearth", model, {**report, **parts, "layout": "packed", "version": self.version,
                                                 "steps": len(report["step_seconds"])})
        return report

    def peer(self, case, flags, model=MODEL, compiled=True):
        """One run of the peer, not compiled if compilation fails; its report."""
        command = [ENVIRONMENT / "bin/python", "bench/peer.py", "--model-dir", MODELS / model, *flags]
        try:
            report = output([*command, *(["--compile"] if compiled else [])])
        except subprocess.CalledProcessError:
            if not compiled:
                raise
            print(f"{case}: torch.compile failed, the peer runs without it", file=sys.stderr)
            return self.peer(case, flags, model, compiled=False)
        self._record_run(case, "pytorch+peft", model, report)
        return report

    def _record_run(self, case, side, model, values):
        # The model by its name: Hearth reports the directory, which is this machine's own.
        row = {**values, "case": case, "side": side, "model": model, **self.machine}
        self.append("runs", RUN_COLUMNS, row)
        first = values["seconds_to_first_step"]
        print(f"{case:24} {side:14} {values['tokens_per_second']:9.1f} tokens/s "
              f"{values['peak_rss_bytes'] / 2**20:8.0f} MiB peak" + (f" {first:7.2f} s to first step" if first else ""),
              flush=True)

    def append(self, kind, columns, row):
        """Adds a row to today's file of this kind."""
        machine = "-".join(f"{self.machine['cpu']} {self.machine['cores']} cores".lower().split())
        path = ROOT / "bench/record" / machine / f"{kind}-{datetime.date.today()}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerow({"time": datetime.datetime.now().isoformat(timespec="seconds"), **row})

    def installed(self, model):
        return (MODELS / model).is_dir()


def compare(bench, arguments):
    """One packed sequence on both sides."""
    common = ["--tokens", arguments.tokens, "--steps", arguments.steps, "--precision", arguments.precision]
    ours = bench.hearth("one comparison", common)
    peer = bench.peer("one comparison", [*common, "--warmup", 2], compiled=arguments.compile)
    print(f"speed ratio  {ours['tokens_per_second'] / peer['tokens_per_second']:.2f}")
    print(f"memory ratio {ours['peak_rss_bytes'] / peer['peak_rss_bytes']:.3f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true", help="every figure")
    parser.add_argument("--tokens", type=int, default=2048,
                        help="tokens of a packed micro-batch; the table's other sizes follow from it (default 2048)")
    parser.add_argument("--steps", type=int, default=5, help="measured steps of random tokens (default 5)")
    parser.add_argument("--row-steps", type=int, default=8, help="measured steps of 8 chat rows (default 8)")
    parser.add_argument("--only", action="append", choices=list(table.CASES), help="these cases of the table alone")
    parser.add_argument("--precision", choices=["bf16", "f32"], default="bf16", help="without --table")
    parser.add_argument("--compile", action="store_true", help="without --table, whose peers are compiled")
    arguments = parser.parse_args()
    prepare()
    bench = Bench()
    if arguments.table:
        path = ROOT / "target/bench-rows.jsonl"
        rows.write(path, 8 * arguments.row_steps)
        table.run(bench, arguments, path)
    else:
        compare(bench, arguments)


if __name__ == "__main__":
    main()
