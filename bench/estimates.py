"""What jobs were expected to take, beside what they took: cost, time and memory of two dozen jobs of the built server.

    python3 bench/estimates.py [--save]

One job at a time, on a machine that does nothing else. A job's `estimatedCost` and `resourceEstimate` are read before it
runs; afterwards come its tokens, the time from its trainer's first event to its last, and its highest resident memory.
"""

import argparse
import json
import random
import subprocess
import sys
import time
from pathlib import Path

import figures
import rows

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "conformance"))
from harness import BASE, BASE_NAME, HEARTH, colour_rows, server, write_jsonl  # noqa: E402

ACCOUNT = "/v1/accounts/default"
JOBS = f"{ACCOUNT}/supervisedFineTuningJobs"
# For a million tokens.
PRICE = 2.0
SECOND_BASE = "gemma3-270m"
MODELS = ROOT / "target/test-data/models/fireworks"
PLAIN = ("{% for message in messages %}<start_of_turn>{{ message['role'] }}\n{{ message['content'] }}<end_of_turn>\n"
         "{% endfor %}{% if add_generation_prompt %}<start_of_turn>assistant\n{% endif %}")
JOB_TIMEOUT_S = 900
COLUMNS = ["time", "job", "base", "tokens", "tokens_expected", "cost_expected", "cost", "seconds_low", "seconds",
           "seconds_high", "memory_mib_low", "memory_mib", "memory_mib_high", "inside", "cpu", "cores", "version"]
# Rows, and settings beside them.
CASES = [
    ("colours", {}),
    ("colours", {"epochs": 3}),
    ("colours", {"epochs": 4, "batchSizeSamples": 1}),
    ("colours", {"epochs": 2, "batchSizeSamples": 32}),
    ("colours", {"epochs": 2, "batchSize": 2048, "maxContextLength": 256}),
    ("colours", {"epochs": 3, "evalAutoCarveout": True}),
    ("colours", {"epochs": 2, "isTurbo": True}),
    ("colours", {"epochs": 2, "loraRank": 32}),
    ("colours", {"epochs": 2, "evaluationDataset": "chats"}),
    ("chats", {}),
    ("chats", {"loraRank": 4}),
    ("chats", {"loraRank": 32}),
    ("chats", {"batchSizeSamples": 2}),
    ("chats", {"batchSize": 4096, "gradientAccumulationSteps": 2}),
    ("chats", {"epochs": 2, "maxContextLength": 256}),
    ("chats", {"isTurbo": True, "epochs": 2}),
    ("chats", {"epochs": 2, "evalAutoCarveout": True}),
    ("long", {}),
    ("long", {"loraRank": 16, "epochs": 2}),
    ("long", {"isTurbo": True}),
    ("long", {"batchSizeSamples": 1, "gradientAccumulationSteps": 4}),
    ("chats", {"baseModel": SECOND_BASE, "jinjaTemplate": PLAIN, "maxContextLength": 512}),
    ("colours", {"baseModel": SECOND_BASE, "jinjaTemplate": PLAIN, "epochs": 2}),
    ("long", {"baseModel": SECOND_BASE, "jinjaTemplate": PLAIN, "maxContextLength": 2048}),
]


def long_rows(count):
    """Conversations of some 1,200 tokens."""
    generator = random.Random(2)
    return [{"messages": [{"role": "user", "content": rows.sentences(generator, 500)},
                          {"role": "assistant", "content": rows.sentences(generator, 500)}]} for _ in range(count)]


def link_models(data_dir):
    """Puts the second base beside the first."""
    target = data_dir / "models/fireworks" / SECOND_BASE
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-al", MODELS / SECOND_BASE, target], check=True)


def upload(running, name, content):
    path = write_jsonl(running.data_dir / f"{name}.jsonl", content)
    running.request("POST", f"{ACCOUNT}/datasets", {"datasetId": name, "dataset": {"userUploaded": {}}})
    sizes = {"filenameToSize": {"rows.jsonl": str(path.stat().st_size)}}
    urls = running.request("POST", f"{ACCOUNT}/datasets/{name}:getUploadEndpoint", sizes)["filenameToSignedUrls"]
    subprocess.run(["curl", "-sSf", "-T", path, urls["rows.jsonl"]], check=True)
    running.request("POST", f"{ACCOUNT}/datasets/{name}:validateUpload", {})


def finish(running, name):
    """Waits for a job's end; the job as it was when its estimate was first seen, and at the end."""
    deadline, first = time.monotonic() + JOB_TIMEOUT_S, None
    while True:
        job = running.request("GET", f"{JOBS}/{name}")
        if first is None and "estimatedCost" in job:
            first = job
        if job["state"] in ("JOB_STATE_COMPLETED", "JOB_STATE_EARLY_STOPPED"):
            assert first is not None, "the job ran without an estimate"
            return first, job
        assert job["state"] != "JOB_STATE_FAILED", job["status"]
        assert time.monotonic() < deadline, f"{name} does not end: {job['state']}"
        time.sleep(0.2)


def cost(money):
    return int(money["units"]) + money["nanos"] / 1e9


def measure(running, number, data, settings):
    name = f"job-{number:02}"
    body = {"dataset": data, "baseModel": BASE_NAME, **settings}
    running.request("POST", f"{JOBS}?supervisedFineTuningJobId={name}", body)
    expected, job = finish(running, name)
    events = [json.loads(line) for line in
              (running.data_dir / "runs/default" / name / "events.jsonl").read_text().splitlines()]
    tokens, estimate = job["jobProgress"]["inputTokens"], expected["resourceEstimate"]
    seconds = (events[-1]["time_ms"] - events[0]["time_ms"]) / 1000
    memory = events[-1]["peak_rss_bytes"]
    low, high = int(estimate["memoryBytesLow"]), int(estimate["memoryBytesHigh"])
    misses = [what for what, is_in in [
        ("cost", abs(cost(expected["estimatedCost"]) - tokens * PRICE / 1e6) < 1e-9),
        ("time", estimate["secondsLow"] <= seconds <= estimate["secondsHigh"]),
        ("memory", low <= memory <= high)] if not is_in]
    shown = {key: value for key, value in settings.items() if key != "jinjaTemplate"}
    row = {"job": f"{data} {json.dumps(shown)}", "base": settings.get("baseModel", BASE), "tokens": tokens,
           "tokens_expected": round(cost(expected["estimatedCost"]) / PRICE * 1e6),
           "cost_expected": cost(expected["estimatedCost"]), "cost": round(tokens * PRICE / 1e6, 9),
           "seconds_low": round(estimate["secondsLow"], 1), "seconds": round(seconds, 1),
           "seconds_high": round(estimate["secondsHigh"], 1), "memory_mib_low": low >> 20, "memory_mib": memory >> 20,
           "memory_mib_high": high >> 20, "inside": "all" if not misses else "not " + " ".join(misses)}
    print(f"{row['job']:95} {tokens:7} tokens  {row['seconds_low']:6} < {row['seconds']:6} < {row['seconds_high']:6} s  "
          f"{row['memory_mib_low']:5} < {row['memory_mib']:5} < {row['memory_mib_high']:5} MiB  {row['inside']}", flush=True)
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--save", action="store_true", help="write bench/record/<machine>/estimates-<date>.csv")
    options = parser.parse_args()
    subprocess.run(["cargo", "build", "--release", "--quiet", "--package", "hearth-cli"], cwd=ROOT, check=True)
    assert HEARTH.exists()
    with server("--training-price", f"{PRICE} USD", prepare=link_models) as running:
        generator = random.Random(rows.SEED)
        upload(running, "colours", colour_rows(96))
        upload(running, "chats", [rows.row(generator) for _ in range(32)])
        upload(running, "long", long_rows(8))
        table = [measure(running, number, *case) for number, case in enumerate(CASES)]
    inside = sum(row["inside"] == "all" for row in table)
    print(f"{inside} of {len(table)} jobs were inside all their intervals")
    if options.save:
        figures.save("estimates", table, COLUMNS)


if __name__ == "__main__":
    main()
