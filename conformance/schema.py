"""schemathesis over the server's own /openapi.json, with the operator's key: every operation is called with made-up
requests, good ones and bad ones, one by one and in series that follow the document's links. Every answer must be one that
the document has, what its schemas forbid must be refused, and no answer may be a 5xx but UNIMPLEMENTED (501).
`schemathesis.toml` says what is checked."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from harness import BASE, BASE_NAME, ROOT, colour_rows, scratch, server
from tiny import install_base

# Nothing trains: what a job is doing at the time would make each run another. No limits on calls.
OPTIONS = ["--trainers", "0", "--rate", "control=off", "--rate", "upload=off", "--rate", "inference=off"]
# Fewest operations that must have succeeded at least once: below, the run would say little.
SUCCEEDED_LEAST = 60


def prepare(running):
    """The resources that the document's examples and schema_hooks.py name."""
    account = "/v1/accounts/default"

    def post(path, body):
        return running.request("POST", account + path, body)

    def dataset(name, rows=None):
        post("/datasets", {"datasetId": name, "dataset": {"userUploaded": {}}})
        if rows is None:
            return
        content = "".join(json.dumps(row) + "\n" for row in rows).encode()
        urls = post(f"/datasets/{name}:getUploadEndpoint", {"filenameToSize": {"rows.jsonl": len(content)}})
        running.request("PUT", urls["filenameToSignedUrls"]["rows.jsonl"].removeprefix(running.url), raw=content)
        post(f"/datasets/{name}:validateUpload", {})

    running.request("POST", "/v1/accounts?accountId=resting", {})
    question = [{"role": "user", "content": "Name a colour."}]
    dataset("support", colour_rows(8))
    dataset("requests", [{"custom_id": "one", "body": {"messages": question, "max_tokens": 4}}])
    dataset("empty")
    dataset("spare")
    for name in ("first", "spare"):
        post(f"/supervisedFineTuningJobs?supervisedFineTuningJobId={name}",
             {"dataset": "support", "baseModel": BASE_NAME, "outputModel": f"of-{name}"})
        post(f"/datasetValidationJobs?datasetValidationJobId={name}",
             {"datasetName": "accounts/default/datasets/support", "format": "DATASET_VALIDATION_FORMAT_CHAT"})
        post(f"/batchInferenceJobs?batchInferenceJobId={name}",
             {"model": BASE_NAME, "inputDatasetId": "accounts/default/datasets/requests"})
    for name in ("tone", "spare"):
        post("/models", {"modelId": name, "model": {"kind": "HF_PEFT_ADDON", "peftDetails": {
            "baseModel": BASE_NAME, "r": 8, "targetModules": ["q_proj", "v_proj"]}}})
    for name in ("dev", "spare"):
        post(f"/users?userId={name}", {"role": "user"})


def succeeded(report):
    """Operations with an answer below 300, and how often each status came."""
    operations, statuses = set(), Counter()
    for line in report.read_text().splitlines():
        scenario = json.loads(line).get("ScenarioFinished")
        recorder = scenario["recorder"] if scenario else {}
        for name, made in recorder.get("interactions", {}).items():
            status = (made.get("response") or {}).get("status_code")
            statuses[status] += 1
            if status and status < 300:
                case = recorder["cases"][name]["value"]
                operations.add(f"{case['method']} {case['path']}")
    return operations, statuses


def check(running, folder):
    prepare(running)
    report = folder / "report.ndjson"
    command = [
        Path(sys.executable).parent / "schemathesis", "--config-file", ROOT / "conformance/schemathesis.toml", "run",
        f"{running.url}/openapi.json", "--header", f"Authorization: Bearer {running.key}",
        "--report-ndjson-path", report, *sys.argv[1:],
    ]
    result = subprocess.run(command, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT / "conformance")})
    assert result.returncode == 0, "schemathesis found what stands above"
    assert "panicked" not in (log := (running.data_dir / "serve.log").read_text()), log
    operations, statuses = succeeded(report)
    print("schema: answers by status:", dict(sorted(statuses.items(), key=lambda pair: str(pair[0]))))
    print(f"schema: {len(operations)} operations succeeded at least once")
    assert len(operations) >= SUCCEEDED_LEAST, sorted(operations)


def main():
    with scratch() as folder:
        install = lambda data_dir: install_base(data_dir, folder, BASE)  # noqa: E731
        with server(*OPTIONS, base=False, prepare=install) as running:
            check(running, folder)
    print("schema: every answer is one that /openapi.json has")


if __name__ == "__main__":
    main()
