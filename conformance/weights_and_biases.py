"""What Hearth sends to Weights & Biases has the form of what the official client sends, and that client reads it back.

First the official client itself logs a run to a recording server; its requests are the standard. Then jobs are logged to
the same server, and their requests are held against it. Away, out of order, with a wrong key, and with Hearth killed in the
middle, the history has each step once and the end is right. The key is nowhere in the data directory.
"""

import json
import os
import re
import subprocess
import sys
import time

from harness import Server, colour_rows, scratch
from tiny import install_base
from wandb_server import Recorder

KEY = "0123456789abcdef" * 2 + "conf0rm4"
WRONG_KEY = "f" * 32 + "wr0ngkey"
ENTITY, PROJECT = "team", "hearth"
JOBS = "/v1/accounts/default/supervisedFineTuningJobs"
BASE_NAME = "accounts/fireworks/models/tiny"
JOB_TIMEOUT_S = 300
DELIVERY_TIMEOUT_S = 180
ROWS, EPOCHS = 32, 100
STEPS = ROWS // 2 * EPOCHS

OFFICIAL = """
import sys, time, wandb
settings = wandb.Settings(base_url=sys.argv[1], api_key=sys.argv[2], console="off", x_disable_meta=True,
                          x_stats_sampling_interval=1.0, disable_git=True, save_code=False)
run = wandb.init(project=sys.argv[3], entity=sys.argv[4], id="official", name="the official one", config={"epochs": 100},
                 settings=settings, resume="never")
for step in range(1, 6):
    run.log({"train/loss": 1 / step}, step=step)
    time.sleep(0.3)
run.finish()
"""

READER = """
import json, sys, wandb
api = wandb.Api(overrides={"base_url": sys.argv[1]}, api_key=sys.argv[2])
run = api.run(sys.argv[3])
print(json.dumps({"state": run.state, "name": run.name, "config": run.config, "summary": dict(run.summary),
                  "history": list(run.scan_history()), "system": run.history(stream="system", pandas=False)}, default=dict))
"""


def python(script, folder, *arguments):
    """Runs a script with the official client, which keeps its files in `folder`."""
    environment = {**os.environ, "HOME": str(folder), "WANDB_DIR": str(folder), "WANDB_SILENT": "true"}
    done = subprocess.run([sys.executable, "-c", script, *arguments], env=environment, cwd=folder, timeout=120,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def shape(requests, run):
    """What can be compared of the requests about a run."""
    upserts = [request for request in requests
               if request["path"] == "/graphql" and "upsertBucket" in request["body"]["query"]
               and request["body"]["variables"]["name"] == run]
    streams = [request for request in requests if request["path"] == f"/files/{ENTITY}/{PROJECT}/{run}/file_stream"]
    files = {}
    for request in streams:
        for name, chunk in request["body"].get("files", {}).items():
            assert sorted(chunk) == ["content", "offset"] and isinstance(chunk["offset"], int), chunk
            assert all(isinstance(line, str) and isinstance(json.loads(line), dict) for line in chunk["content"]), chunk
            files.setdefault(name, set()).update(key for line in chunk["content"] for key in json.loads(line))
    query = upserts[0]["body"]["query"]
    asked = [request["body"] for request in requests if request["path"] == "/graphql"
             and "RunResumeStatus" in request["body"]["query"] and request["body"]["variables"]["name"] == run]
    return {
        "asked": [set(one["variables"]) for one in asked],
        "looked for": set(re.findall(r"\w+", asked[0]["query"])),
        "order": [(request["method"], request["path"].replace(run, "RUN")) for request in (upserts[0], streams[0])],
        "first": requests.index(upserts[0]) < requests.index(streams[0]),
        "user": {request["user"] for request in upserts + streams},
        "key": {request["key"] for request in upserts + streams},
        "type": {request["type"] for request in upserts + streams},
        "input": set(re.findall(r"(\w+):\s*\$", re.search(r"input:\s*\{(.*?)\}", query, re.S)[1])),
        "variables": set(upserts[0]["body"]["variables"]),
        "config": {frozenset(value) for name, value in json.loads(upserts[0]["body"]["variables"]["config"]).items()},
        "body": set().union(*(request["body"] for request in streams)),
        "files": files,
        "last": {"complete": streams[-1]["body"].get("complete"), "exitcode": streams[-1]["body"].get("exitcode")},
        "ends": sum("complete" in request["body"] and request["status"] == 200 for request in streams),
    }


def compare(official, ours):
    """Ours has the form of the official one, and nothing that it does not have."""
    for same in ("order", "asked", "first", "user", "key", "type", "config", "last", "ends"):
        assert official[same] == ours[same], (same, official[same], ours[same])
    for within in ("looked for", "input", "variables", "body"):
        assert ours[within] <= official[within], (within, ours[within] - official[within])
    assert set(ours["files"]) == set(official["files"]), ours["files"]
    for file, own in (("wandb-history.jsonl", "train/loss"), ("wandb-summary.json", "train/loss")):
        added = {key for key in official["files"][file] if key.startswith("_")} | {own}
        assert added <= ours["files"][file], (file, added - ours["files"][file])
    figures = ours["files"]["wandb-events.jsonl"]
    assert figures <= official["files"]["wandb-events.jsonl"], figures
    assert {"_wandb", "_runtime", "_timestamp", "system.proc.memory.rssMB"} <= figures, figures


class Jobs:
    """Jobs of a running server that are logged."""

    def __init__(self, server):
        self.server = server
        server.request("POST", "/v1/accounts/default/datasets", {"datasetId": "colours", "dataset": {}})
        rows = "".join(json.dumps(row) + "\n" for row in colour_rows(ROWS)).encode()
        sizes = {"filenameToSize": {"rows.jsonl": str(len(rows))}}
        urls = server.request("POST", "/v1/accounts/default/datasets/colours:getUploadEndpoint", sizes)
        subprocess.run(["curl", "-sSf", "-T", "-", urls["filenameToSignedUrls"]["rows.jsonl"]], input=rows, check=True)
        server.request("POST", "/v1/accounts/default/datasets/colours:validateUpload", {})

    def create(self, job, key=KEY, **more):
        # As fireworks-ai 0.19 sends it: without `enabled`.
        wandb = {"apiKey": key, "project": PROJECT, "entity": ENTITY, "runId": f"run-{job}"}
        body = {"dataset": "colours", "evaluationDataset": "colours", "baseModel": BASE_NAME, "epochs": EPOCHS,
                "batchSizeSamples": 2, "maxContextLength": 256, "displayName": f"Job {job}", "wandbConfig": wandb, **more}
        made = self.server.request("POST", f"{JOBS}?supervisedFineTuningJobId={job}", body)
        assert key not in json.dumps(made), made
        return made

    def get(self, job):
        return self.server.request("GET", f"{JOBS}/{job}")

    def until(self, job, *states, while_waiting=lambda job: None):
        deadline = time.monotonic() + JOB_TIMEOUT_S
        while True:
            now = self.get(job)
            if now["state"].removeprefix("JOB_STATE_") in states:
                return now
            assert not now["state"].endswith("FAILED") and time.monotonic() < deadline, now
            while_waiting(now)
            time.sleep(0.2)

    def warnings(self, job, count=0):
        """Waits until there are so many."""
        deadline = time.monotonic() + DELIVERY_TIMEOUT_S
        while len(found := self.warnings_now(job)) < count:
            assert time.monotonic() < deadline, found
            time.sleep(0.1)
        return found

    def warnings_now(self, job):
        events = self.server.request("GET", f"{JOBS}/{job}/events?pageSize=200")["events"]
        return [event["message"] for event in events if event["type"] == "WARNING"]


def delivered(recorder, job):
    """The run of a job, when it is at its end there."""
    deadline = time.monotonic() + DELIVERY_TIMEOUT_S
    while True:
        run = recorder.runs.get((ENTITY, PROJECT, f"run-{job}"))
        if run is not None and run.exit_code is not None:
            return run
        assert time.monotonic() < deadline, f"the run of {job} did not come to its end"
        time.sleep(0.1)


def check_history(run, exit_code=0):
    """Each step once and in order, with the evaluations at the ends of the epochs."""
    rows = run.rows("wandb-history.jsonl")
    assert [row["_step"] for row in rows] == list(range(1, STEPS + 1)), rows
    assert all(row["train/step"] == row["_step"] and row["train/loss"] > 0 for row in rows)
    evaluated = [row["_step"] for row in rows if "eval/loss" in row]
    assert set(range(ROWS // 2, STEPS + 1, ROWS // 2)) <= set(evaluated), evaluated
    assert run.exit_code == exit_code and run.state == ("finished" if exit_code == 0 else "failed")
    assert run.summary()["_step"] == STEPS and "runtime" in run.summary()["_wandb"]


def undisturbed(folder, recorder, jobs, official):
    jobs.create("plain")
    done = jobs.until("plain", "COMPLETED")
    run = delivered(recorder, "plain")
    check_history(run)
    compare(official, shape(recorder.requests, "run-plain"))
    url = f"{recorder.url}/{ENTITY}/{PROJECT}/runs/run-plain"
    wandb = {"enabled": True, "apiKey": "", "project": PROJECT, "entity": ENTITY, "runId": "run-plain", "url": url}
    assert done["wandbConfig"] == wandb, done["wandbConfig"]
    assert jobs.warnings("plain") == []

    metrics = {}
    for line in subprocess.run(["curl", "-sSf", done["metricsFileSignedUrl"]], check=True,
                               capture_output=True).stdout.splitlines():
        row = json.loads(line)
        metrics.setdefault(row.pop("step"), {}).update(row)
    read = json.loads(python(READER, folder, recorder.url, KEY, f"{ENTITY}/{PROJECT}/run-plain"))
    assert (read["state"], read["name"]) == ("finished", "Job plain"), read
    assert read["config"]["epochs"] == EPOCHS and read["config"]["base_model"] == BASE_NAME, read["config"]
    assert "wandb" not in read["config"] and KEY not in json.dumps(read)
    assert len(read["history"]) == STEPS and read["system"], read
    for row in read["history"]:
        assert {key: value for key, value in row.items() if not key.startswith("_")} == metrics[row["_step"]], row
    assert read["summary"]["train/loss"] == read["history"][-1]["train/loss"]
    print(f"weights and biases: {STEPS} steps have the official form, and the official client reads them back")


def away(recorder, jobs):
    """The service is not there while the job runs; then it answers with 500 for a while, and what stands before it with
    404."""
    recorder.stop()
    jobs.create("away")
    jobs.until("away", "COMPLETED")
    warnings = jobs.warnings("away", 1)
    assert len(warnings) == 1 and "sent again later" in warnings[0], warnings
    recorder.answer = 500
    recorder.start()
    for status, times in ((500, 1), (404, 2)):
        recorder.answer = status
        deadline = time.monotonic() + DELIVERY_TIMEOUT_S * times
        while sum(request["status"] == status for request in recorder.requests) < times:
            assert time.monotonic() < deadline, "nobody asked again"
            time.sleep(0.1)
    recorder.answer = None
    check_history(delivered(recorder, "away"))
    print("weights and biases: a history that could not be sent was sent later")


def killed(recorder, jobs):
    """SIGKILL of the server when rows were taken in and it does not know yet, and again at the job's end."""
    server, kills = jobs.server, []

    def kill(run):
        if run == "run-killed" and len(kills) < 2:
            server.kill()
            kills.append(run)

    recorder.after_history = kill
    jobs.create("killed")
    deadline = time.monotonic() + JOB_TIMEOUT_S
    while True:
        assert time.monotonic() < deadline, f"killed {len(kills)} times"
        with recorder.lock:
            run = recorder.runs.get((ENTITY, PROJECT, "run-killed"))
            is_over = len(kills) == 2 or (run is not None and run.exit_code is not None)
        if server.process.poll() is not None:
            server.start()
        if is_over:
            break
        time.sleep(0.05)
    recorder.after_history = None
    jobs.until("killed", "COMPLETED")
    run = delivered(recorder, "killed")
    check_history(run)
    assert kills and run.rewritten > 0, (kills, run.rewritten)
    print(f"weights and biases: each step is there once; {run.rewritten} rows came twice in {len(kills)} kills")


def refused(recorder, jobs):
    jobs.create("refused", key=WRONG_KEY)
    jobs.until("refused", "COMPLETED")
    warnings = jobs.warnings("refused", 2)
    assert "nothing more is sent" in warnings[1] and all("401" in warning and WRONG_KEY not in warning for warning in warnings), warnings
    tries = sum(request["key"] == WRONG_KEY for request in recorder.requests)
    assert tries == 5 and (ENTITY, PROJECT, "run-refused") not in recorder.runs, tries
    print(f"weights and biases: a wrong key is tried {tries} times, and the job completes")


def taken(recorder, jobs):
    """A run that has rows is left as it is."""
    theirs = recorder.runs[(ENTITY, PROJECT, "run-plain")]
    before = (theirs.display_name, theirs.config, theirs.rewritten)
    wandb = {"apiKey": KEY, "project": PROJECT, "entity": ENTITY, "runId": "run-plain"}
    jobs.create("taken", wandbConfig=wandb)
    jobs.until("taken", "COMPLETED")
    warnings = jobs.warnings("taken", 1)
    assert len(warnings) == 1 and f"has a run run-plain with {STEPS} rows" in warnings[0], warnings
    check_history(theirs)
    assert (theirs.display_name, theirs.config, theirs.rewritten) == before, theirs.__dict__
    print("weights and biases: a run that others have written is left as it is")


def cancelled(recorder, jobs):
    jobs.create("cancelled", epochs=100)
    jobs.until("cancelled", "RUNNING")
    jobs.server.request("POST", f"{JOBS}/cancelled:cancel", {})
    run = delivered(recorder, "cancelled")
    assert (run.exit_code, run.state) == (1, "failed")
    jobs.server.request("POST", f"{JOBS}/cancelled:resume", {})
    jobs.until("cancelled", "COMPLETED")
    deadline = time.monotonic() + DELIVERY_TIMEOUT_S
    while run.state != "finished":
        assert time.monotonic() < deadline, "the run did not go on with its job"
        time.sleep(0.1)
    # An evaluation may belong to the step whose row was the last of the cancelled run.
    assert [row["_step"] for row in run.rows("wandb-history.jsonl")] == list(range(1, STEPS + 1))
    assert jobs.warnings("cancelled") == []
    print("weights and biases: a job that is cancelled is a run that failed, and goes on when it is resumed")


def no_key_on_disk(data_dir):
    """The keys stand nowhere in clear: not in the database, a run directory, the log, nor what the trainer printed."""
    for path in data_dir.rglob("*"):
        if path.is_file() and path.stat().st_nlink == 1 and path.suffix != ".gguf":
            content = path.read_bytes()
            assert KEY.encode() not in content and WRONG_KEY.encode() not in content, path
    print("weights and biases: no key stands in a file")


def main():
    with scratch() as folder:
        client, data_dir = folder / "client", folder / "data"
        client.mkdir()
        data_dir.mkdir()
        recorder = Recorder(keys={KEY}).start()
        python(OFFICIAL, client, recorder.url, KEY, PROJECT, ENTITY)
        official = shape(recorder.requests, "official")
        install_base(data_dir, folder, "tiny")
        server = Server(data_dir, "--wandb-base-url", recorder.url, base=False).start()
        try:
            jobs = Jobs(server)
            # It takes a while until a wrong key is given up; the others go on meanwhile.
            undisturbed(client, recorder, jobs, official)
            away(recorder, jobs)
            killed(recorder, jobs)
            refused(recorder, jobs)
            taken(recorder, jobs)
            cancelled(recorder, jobs)
            no_key_on_disk(data_dir)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
