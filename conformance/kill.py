"""A job that is killed at random moments gives the same adapter, byte for byte, as one that is left alone.

First the trainer alone: 20 runs on the real base, each killed with SIGKILL at random moments and started again.
Then the server: killed with SIGKILL during training, started again on the same data; the job completes.
"""

import hashlib
import json
import random
import signal
import subprocess
import time

from harness import BASE_DIR, BASE_NAME, HEARTH, Server, colour_rows, scratch, write_jsonl

RUNS = 20
KILLS_PER_RUN = 2
JOB_TIMEOUT_S = 300


def write_job(run_dir, rows, threads):
    run_dir.mkdir()
    job = {
        "version": 1, "base_model_dir": str(BASE_DIR), "base_model_name": BASE_NAME, "train_files": [str(rows)],
        "eval_files": [], "chat_template": None, "seed": 3, "epochs": 2, "learning_rate": 1e-3,
        "learning_rate_warmup_steps": 2, "weight_decay": 0.01, "lora_rank": 4, "lora_alpha": 8.0,
        "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
        "max_context_length": 256, "batch_size_tokens": 256, "batch_size_samples": 2, "gradient_accumulation_steps": 1,
        "micro_batch_tokens": 256, "checkpoint_interval_steps": 2, "eval_interval_steps": 0, "backend": "cpu",
        "precision": "bf16", "threads": threads,
    }
    (run_dir / "job.json").write_text(json.dumps(job))


def train(run_dir):
    log = open(run_dir / "trainer.log", "ab")
    return subprocess.Popen([HEARTH, "train", run_dir], stdout=log, stderr=log)


def digest(run_dir):
    return hashlib.sha256((run_dir / "output/adapter_model.safetensors").read_bytes()).hexdigest()


def finish(run_dir):
    code = train(run_dir).wait()
    assert code == 0, f"exit code {code}: {(run_dir / 'trainer.log').read_text()[-2000:]}"
    return digest(run_dir)


def killed_run(folder, rows, number, duration, generator):
    """Kills the trainer at random moments of an undisturbed run's duration; returns digest and kills that hit."""
    run_dir = folder / f"run-{number}"
    write_job(run_dir, rows, threads=1 + number % 2)
    hits = 0
    for _ in range(KILLS_PER_RUN):
        process = train(run_dir)
        time.sleep(generator.uniform(0.05, duration))
        hits += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    return finish(run_dir), hits


def trainer_kills(folder):
    rows = write_jsonl(folder / "rows.jsonl", colour_rows(12))
    reference = folder / "reference"
    write_job(reference, rows, threads=2)
    began = time.monotonic()
    expected = finish(reference)
    duration = time.monotonic() - began
    seed = random.randrange(2**32)
    print(f"kill: seed {seed}, an undisturbed run takes {duration:.1f} s")
    generator = random.Random(seed)
    equal = hits = 0
    for number in range(RUNS):
        found, hit = killed_run(folder, rows, number, duration, generator)
        equal += found == expected
        hits += hit
    print(f"kill: {equal} of {RUNS} adapters equal the undisturbed one ({hits} kills hit a live trainer)")
    assert equal == RUNS and hits >= RUNS // 2, (equal, hits)


def server_kill(folder):
    data_dir = folder / "server"
    data_dir.mkdir()
    rows = write_jsonl(folder / "server-rows.jsonl", colour_rows(24))
    server = Server(data_dir).start()
    account = "/v1/accounts/default"
    server.request("POST", f"{account}/datasets", {"datasetId": "colours", "dataset": {"userUploaded": {}}})
    sizes = {"filenameToSize": {"rows.jsonl": str(rows.stat().st_size)}}
    urls = server.request("POST", f"{account}/datasets/colours:getUploadEndpoint", sizes)["filenameToSignedUrls"]
    subprocess.run(["curl", "-sSf", "-T", rows, urls["rows.jsonl"]], check=True)
    server.request("POST", f"{account}/datasets/colours:validateUpload", {})
    body = {"dataset": "colours", "baseModel": BASE_NAME, "epochs": 4, "batchSizeSamples": 2, "maxContextLength": 256}
    job_path = f"{account}/supervisedFineTuningJobs"
    for job in ("one", "two"):
        server.request("POST", f"{job_path}?supervisedFineTuningJobId=job-{job}", body)
    kills = 0
    deadline = time.monotonic() + JOB_TIMEOUT_S
    while True:
        assert time.monotonic() < deadline, "the jobs did not complete"
        jobs = server.request("GET", job_path)["supervisedFineTuningJobs"]
        states = {job["name"].rsplit("/")[-1]: job["state"] for job in jobs}
        if set(states.values()) == {"JOB_STATE_COMPLETED"}:
            break
        assert not any(state.endswith(("FAILED", "CANCELLED")) for state in states.values()), jobs
        if "JOB_STATE_RUNNING" in states.values() and kills < 4:
            kills += 1
            server.kill()
            server.start()
        time.sleep(1)
    digests = {hashlib.sha256((data_dir / f"models/default/job-{job}/adapter_model.safetensors").read_bytes()).hexdigest()
               for job in ("one", "two")}
    server.stop()
    assert len(digests) == 1, "two jobs with the same settings gave different adapters"
    print(f"kill: both jobs completed after the server was killed {kills} times, with equal adapters")


def main():
    with scratch() as folder:
        trainer_kills(folder)
        server_kill(folder)


if __name__ == "__main__":
    main()
