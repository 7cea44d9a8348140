"""SIGKILL of trainers and servers at random moments."""

import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import time

from harness import BASE_DIR, BASE_NAME, HEARTH, colour_rows, write_jsonl

from .world import ENDED, world

KILLS = 50
KILLS_MAX = 200
PAUSE_MAX_S = 0.6
# Of kills that should meet trainers which read, load, or do steps again.
EARLY_PAUSES_MAX_S = (0.0, 0.1)
# A trainer that is lost time and again without a new step is given up after five (crates/domain). That is for jobs that cannot
# work, so fewer kills in a row come before a new step: two each time.
EARLY_KILLS_MAX = 2
REAL_RUNS, REAL_KILLS_PER_RUN = 2, 2


def kill(pids):
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def wait_for_trainer(it, job, beyond):
    """Until a trainer lives that has come beyond a step, or the job needs none any more."""
    it.until(f"a trainer of {job} beyond step {beyond}", lambda: it.job(job)["state"] in ENDED or (
        it.trainers(job) and it.steps(job)[1] > beyond))


def everything(folder, calm, seed):
    """Trainer, server, or both at once, fifty times in a row; all jobs end with the adapter of the calm one."""
    settings, expected, _ = calm
    chance = random.Random(seed)
    counts = {"trainer": 0, "server": 0, "both": 0}
    # How far a job had come when its trainer was killed last, and how often it was since without a new step.
    jobs, at, early, early_kills = [], {}, {}, 0
    with world(folder, "kills") as it:
        # More of them, if chance has not yet met a trainer before a new step.
        while sum(counts.values()) < KILLS or (early_kills == 0 and sum(counts.values()) < KILLS_MAX):
            current = next((job for job in jobs if it.job(job)["state"] != "JOB_STATE_COMPLETED"), None)
            if current is None:
                current = f"killed-{len(jobs)}"
                it.create(current, **settings)
                jobs.append(current)
            victim = chance.choice(list(counts))
            trainers = []
            if victim == "server":
                time.sleep(chance.uniform(0, PAUSE_MAX_S))
            else:
                soon = early.get(current, 0) < EARLY_KILLS_MAX and chance.random() < 0.5
                if soon:
                    # The one that comes next, and not one that has worked for long.
                    kill(it.trainers(current))
                    it.until("dead", lambda: not it.trainers(current))
                    at[current] = it.steps(current)[1]
                wait_for_trainer(it, current, -1 if soon else at.get(current, 0))
                time.sleep(chance.uniform(0, chance.choice(EARLY_PAUSES_MAX_S) if soon else PAUSE_MAX_S))
                trainers = it.trainers(current)
                step = it.steps(current)[1]
                if not trainers:
                    continue
                is_early = step <= at.get(current, 0)
                at[current] = step
                early[current] = early.get(current, 0) + 1 if is_early else 0
                early_kills += is_early
            if victim != "trainer":
                it.server.process.send_signal(signal.SIGKILL)
            kill(trainers)
            counts[victim] += 1
            if victim != "trainer":
                it.server.process.wait()
                it.server.start()
        assert early_kills > 0, "no trainer was killed before a new step"
        for job in jobs:
            ended = it.until_ended(job)
            assert ended["status"]["code"] == "OK", ended
            assert it.digest(job) == expected, f"{job} has another adapter"
        left = [path for path in it.data_dir.rglob("*") if "unfinished" in path.name or path.suffix == ".tmp"]
        assert not left, f"half-written files stay behind: {left}"
    shown = ", ".join(f"{name} {count}" for name, count in counts.items())
    return f"{sum(counts.values())} kills ({shown}; {early_kills} before a new step), {len(jobs)} jobs with equal adapters"


def real_base(folder, seed):
    """The trainer alone on the real base, with other numbers of threads."""
    rows = write_jsonl(folder / "real-rows.jsonl", colour_rows(6))
    chance = random.Random(seed)

    def write_job(name, threads):
        run_dir = folder / name
        run_dir.mkdir()
        job = {
            "version": 1, "base_model_dir": str(BASE_DIR), "base_model_name": BASE_NAME, "train_files": [str(rows)],
            "eval_files": [], "chat_template": None, "seed": 3, "epochs": 2, "learning_rate": 1e-3,
            "learning_rate_warmup_steps": 2, "weight_decay": 0.01, "lora_rank": 4, "lora_alpha": 8.0,
            "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
            "max_context_length": 256, "batch_size_tokens": 256, "batch_size_samples": 2,
            "gradient_accumulation_steps": 1, "micro_batch_tokens": 256, "checkpoint_interval_steps": 2,
            "eval_interval_steps": 0, "backend": "cpu", "precision": "bf16", "threads": threads,
        }
        (run_dir / "job.json").write_text(json.dumps(job))
        return run_dir

    def train(run_dir):
        log = open(run_dir / "trainer.log", "ab")
        return subprocess.Popen([HEARTH, "train", run_dir], stdout=log, stderr=log)

    def finish(run_dir):
        code = train(run_dir).wait()
        assert code == 0, f"exit code {code}: {(run_dir / 'trainer.log').read_text()[-2000:]}"
        return hashlib.sha256((run_dir / "output/adapter_model.safetensors").read_bytes()).hexdigest()

    calm_dir = write_job("real-calm", threads=2)
    began = time.monotonic()
    expected = finish(calm_dir)
    duration = time.monotonic() - began
    hits = 0
    for number in range(REAL_RUNS):
        run_dir = write_job(f"real-{number}", threads=1 + number % 2)
        for _ in range(REAL_KILLS_PER_RUN):
            process = train(run_dir)
            time.sleep(chance.uniform(0.05, duration))
            hits += process.poll() is None
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert finish(run_dir) == expected, f"run {number} has another adapter"
    assert hits > 0, "no kill met a live trainer"
    return f"{REAL_RUNS} runs with equal adapters, {hits} kills"
