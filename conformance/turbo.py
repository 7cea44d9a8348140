"""A job with isTurbo learns as well as one without: the evaluation loss at its end is within 1 % on the demo's task.

Takes the rows and settings of a real `hearth demo` run, keeps some rows back, and trains on the others in bf16 and in
8-bit integers, with the same order and the same seed. One seed is not enough to show the bound: `docs/adr/008-integers.md`. The ratio of the speeds is printed, not checked:
`bench/train.py --table --only turbo` measures it on a quiet machine.

    target/python/bin/python conformance/turbo.py
"""

import json
import subprocess

from demo import run_demo
from harness import BASE_DIR, HEARTH, scratch, write_jsonl

EVAL_ROWS = 64
BOUND = 0.01


def train(run_dir, job, precision):
    run_dir.mkdir()
    (run_dir / "job.json").write_text(json.dumps({**job, "precision": precision}))
    with open(run_dir / "trainer.log", "ab") as log:
        code = subprocess.run([HEARTH, "train", run_dir], stdout=log, stderr=log).returncode
    assert code == 0, (run_dir / "trainer.log").read_text()[-2000:]
    events = [json.loads(line) for line in (run_dir / "events.jsonl").read_text().splitlines()]
    losses = [event["loss"] for event in events if event["type"] == "eval"]
    speeds = sorted(event["tokens_per_second"] for event in events if event["type"] == "step")
    return losses[-1], speeds[len(speeds) // 2]


def main():
    with scratch() as folder:
        (folder / "models").symlink_to(BASE_DIR.parent.parent)
        run_demo(folder)
        [path] = folder.glob("demo/*/runs/*/*/job.json")
        job = json.loads(path.read_text())
        rows = [json.loads(line) for file in job["train_files"] for line in open(file)]
        job["train_files"] = [str(write_jsonl(folder / "train.jsonl", rows[EVAL_ROWS:]))]
        job["eval_files"] = [str(write_jsonl(folder / "eval.jsonl", rows[:EVAL_ROWS]))]
        (plain, plain_speed), (turbo, turbo_speed) = (train(folder / name, job, name) for name in ("bf16", "int8"))
    print(f"turbo: {len(rows) - EVAL_ROWS} rows, evaluation loss bf16 {plain:.5f}, int8 {turbo:.5f} ({turbo / plain - 1:+.2%}); "
          f"{turbo_speed / plain_speed:.2f} times the speed")
    assert abs(turbo / plain - 1) <= BOUND, "integers cost too much of the loss"


if __name__ == "__main__":
    main()
