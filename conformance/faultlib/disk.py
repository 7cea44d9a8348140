"""Full disks: while a job trains, saves, writes its results and is installed, while files are uploaded, for the database."""

import time

from harness import colour_rows, write_jsonl

from .shim import Shim
from .world import ACCOUNT, Refused, world

RESOURCE_EXHAUSTED = 8
# Where a job meets the full disk, how many bytes it may still write there, and what the user is told.
PLACES = [("/events.jsonl", 2000, "disk is full"), ("/checkpoints/", 30_000, "No space left on device"),
          ("/output", 10_000, "No space left on device"), ("/models/", 0, "disk is full"), ("/runs/", 20_000, "disk is full")]


def refused(call, *arguments):
    try:
        call(*arguments)
    except Refused as answer:
        assert answer.code == RESOURCE_EXHAUSTED and "disk is full" in answer.message, answer
        return answer
    raise AssertionError("a full disk was no error")


def jobs(folder, calm):
    """Each time the job fails with the reason, and goes on when there is room."""
    settings, expected, _ = calm
    shim = Shim(folder, folder / "full")
    with world(folder, "full", shim=shim) as it:
        for number, (path, budget_bytes, message) in enumerate(PLACES):
            job = f"full-{number}"
            it.create(job, **settings)
            it.until_running(job)
            shim.fill_disk(budget_bytes, path)
            ended = it.until_ended(job, "JOB_STATE_FAILED")
            assert ended["status"]["code"] == "RESOURCE_EXHAUSTED", (path, ended["status"])
            assert message in ended["status"]["message"], (path, ended["status"])
            assert not (it.data_dir / "models/default" / job).exists(), f"{path}: half a model"
            shim.free_disk()
            it.ask("POST", f"{ACCOUNT}/supervisedFineTuningJobs/{job}:resume", {})
            it.until_ended(job)
            assert it.digest(job) == expected, f"{path}: another adapter"
    return f"{len(PLACES)} jobs met a full disk, failed with the reason and ended with equal adapters"


def server(folder, calm):
    """Uploads, the database, and then everything."""
    settings, expected, _ = calm
    shim = Shim(folder, folder / "full-server")
    with world(folder, "full-server", shim=shim) as it:
        big = write_jsonl(folder / "big.jsonl", colour_rows(20_000))
        it.ask("POST", f"{ACCOUNT}/datasets", {"datasetId": "big", "dataset": {"userUploaded": {}}})
        shim.fill_disk(100_000, "/objects/")
        refused(it.fill, "big", big)
        left = [path for path in (it.data_dir / "objects").rglob("*big*") if path.is_file()]
        assert not left, f"half an upload stays: {left}"
        shim.free_disk()
        it.fill("big", big)
        assert it.ask("GET", f"{ACCOUNT}/datasets/big")["state"] == "READY"

        it.create("goes-on", **settings)
        it.until_running("goes-on")
        shim.fill_disk(0, "/hearth.db")
        secret = {"name": "accounts/default/secrets/s", "keyName": "KEY", "value": "v"}
        refused(it.ask, "POST", f"{ACCOUNT}/secrets", secret)
        assert it.ask("GET", f"{ACCOUNT}/datasets/big")["state"] == "READY", "what is there can be read"
        time.sleep(1.5)
        shim.free_disk()
        it.ask("POST", f"{ACCOUNT}/secrets", secret)
        it.until_ended("goes-on")
        assert it.digest("goes-on") == expected, "another adapter"

        shim.fill_disk()
        refused(it.ask, "POST", f"{ACCOUNT}/datasets", {"datasetId": "more", "dataset": {"userUploaded": {}}})
        try:
            it.ask("GET", "/readyz")
            raise AssertionError("a server that cannot write says that it is ready")
        except Refused as answer:
            assert answer.status == 503 and "disk is full" in answer.message, answer
        it.ask("GET", "/healthz")
        it.job("goes-on")
        shim.free_disk()
        it.upload("more")
        it.ask("GET", "/readyz")
    return "an upload, the database and a whole disk: refused with the reason, nothing half there, all well afterwards"
