"""A server with a tiny base, and jobs on it that take a few seconds."""

import contextlib
import hashlib
import json
import os
import signal
import time
import urllib.error
import urllib.request
from pathlib import Path

import tiny
from harness import Server, colour_rows, write_jsonl

ACCOUNT = "/v1/accounts/default"
JOBS = f"{ACCOUNT}/supervisedFineTuningJobs"
BASE = "accounts/fireworks/models/tiny"
PATIENCE_S = 120
# Some 200 steps, and a checkpoint after each twentieth.
SETTINGS = {"dataset": "colours", "baseModel": BASE, "epochs": 17, "batchSizeSamples": 2, "maxContextLength": 256,
            "loraRank": 4}
ENDED = ("JOB_STATE_COMPLETED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED", "JOB_STATE_PAUSED", "JOB_STATE_EXPIRED")


class Refused(Exception):
    """An answer that is an error: its HTTP status, code and message."""

    def __init__(self, status, code, message):
        super().__init__(f"HTTP {status}, code {code}: {message}")
        self.status, self.code, self.message = status, code, message


class World:
    """One data directory and the server on it."""

    def __init__(self, folder, name, *options, shim=None):
        self.data_dir = folder / name
        self.data_dir.mkdir()
        tiny.install_base(self.data_dir, folder, "tiny")
        (folder / "tiny").rename(folder / f"base-{name}")
        self.rows = write_jsonl(folder / f"{name}.jsonl", colour_rows(24))
        self.server = Server(self.data_dir, *options, base=False, env=shim.env if shim else None)

    def start(self):
        self.server.start()
        return self

    def ask(self, method, path, body=None, raw=None, headers=None, timeout_s=60):
        """Makes a call; errors of the server are `Refused`, those of the connection are `OSError`."""
        server = self.server
        data = raw if body is None else json.dumps(body).encode()
        given = {"Authorization": f"Bearer {server.key}", "Content-Type": "application/json", **(headers or {})}
        url = path if path.startswith("http") else server.url + path
        request = urllib.request.Request(url, data=data, headers=given, method=method)
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as reply:
                text = reply.read()
        except urllib.error.HTTPError as error:
            text = error.read()
            try:
                answer = json.loads(text)
            except ValueError:
                answer = {"code": None, "message": text.decode(errors="replace")}
            raise Refused(error.code, answer.get("code"), answer.get("message")) from None
        # Files are what they are.
        return text if path.startswith("http") or not text else json.loads(text)

    def upload(self, dataset, rows=None):
        """Makes a dataset of a file, with the signed URL and the check."""
        rows = rows or self.rows
        self.ask("POST", f"{ACCOUNT}/datasets", {"datasetId": dataset, "dataset": {"userUploaded": {}}})
        self.fill(dataset, rows)

    def fill(self, dataset, rows):
        path = f"{ACCOUNT}/datasets/{dataset}"
        sizes = {"filenameToSize": {rows.name: str(rows.stat().st_size)}}
        url = self.ask("POST", f"{path}:getUploadEndpoint", sizes)["filenameToSignedUrls"][rows.name]
        self.ask("PUT", url, raw=rows.read_bytes(), headers={"Content-Type": "application/octet-stream"})
        self.ask("POST", f"{path}:validateUpload", {})

    def create(self, job, **settings):
        return self.ask("POST", f"{JOBS}?supervisedFineTuningJobId={job}", {**SETTINGS, **settings})

    def job(self, job):
        return self.ask("GET", f"{JOBS}/{job}")

    def steps(self, job):
        """Steps that the run of a job has written down, and the highest of them. Read from the run, since a server may
        be dead."""
        found = [event["step"] for event in self.events(job) if event["type"] == "step"]
        return len(found), max(found, default=0)

    def events(self, job):
        """What the run of a job has said in whole lines."""
        path = self.run_dir(job) / "events.jsonl"
        if not path.exists():
            return []
        found = []
        for line in path.read_bytes().split(b"\n"):
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return found

    def run_dir(self, job):
        return self.data_dir / "runs/default" / job

    def trainers(self, job):
        """Process ids of the trainers that live on the run of a job."""
        return processes_with("train", str(self.run_dir(job)))

    def until(self, what, check, timeout_s=PATIENCE_S, pause_s=0.02):
        """Waits until `check` gives something true, and gives that."""
        deadline = time.monotonic() + timeout_s
        while True:
            found = check()
            if found:
                return found
            log = (self.data_dir / "serve.log").read_text(errors="replace")[-3000:]
            assert time.monotonic() < deadline, f"never {what}; the end of the server's log: {log}"
            time.sleep(pause_s)

    def until_running(self, job, step=1):
        return self.until(f"{job} at step {step}", lambda: self.steps(job)[1] >= step)

    def until_ended(self, job, state="JOB_STATE_COMPLETED"):
        ended = self.until(f"{job} at its end", lambda: (found := self.job(job))["state"] in ENDED and found, pause_s=0.1)
        assert ended["state"] == state, ended
        return ended

    def digest(self, model):
        """SHA-256 of a job's adapter, as its owner would download it."""
        weights = self.data_dir / "models/default" / model / "adapter_model.safetensors"
        return hashlib.sha256(weights.read_bytes()).hexdigest()

    def end(self):
        """Stops the server if it lives, and trainers that are left."""
        if self.server.process.poll() is None:
            self.server.stop()
        for pid in processes_with("train", str(self.data_dir)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def processes_with(*words):
    """Processes that have each of these in their command line, whole or as the beginning of a path."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            line = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if all(any(word == w or word.startswith(w + "/") for word in line) for w in words):
                found.append(int(entry.name))
    return found


@contextlib.contextmanager
def world(folder, name, *options, shim=None):
    """A running server with a dataset; nothing of it lives afterwards."""
    made = World(folder, name, *options, shim=shim).start()
    try:
        made.upload("colours")
        yield made
    finally:
        made.end()
