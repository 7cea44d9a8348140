"""Power cuts: everything stops, and what was not forced to disk is gone, half there, or there without its name.

`strict` keeps only what was synced: bytes of files, and names of directories that were synced after they changed. `names`
keeps all names, as most file systems do, with files as they were at their last sync, or empty. `torn` keeps all names, and of
what was written since the last sync some pages, in no order.
"""

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import time

from .kills import kill
from .shim import Shim, key_of
from .world import ACCOUNT, Refused, processes_with, world

VARIANTS = ("strict", "names", "torn")
PAGE_BYTES = 4096
SYNC_ALL = """
import os, sys
for folder, _, files in os.walk(sys.argv[1], topdown=False):
    for path in [os.path.join(folder, name) for name in files] + [folder]:
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)
"""


def sync_all(shim, root):
    """Forces a whole tree to disk, as hours of rest do."""
    subprocess.run([sys.executable, "-c", SYNC_ALL, root], check=True, env={**os.environ, **shim.env})


class Cut:
    """Builds what a disk holds after the power came back."""

    def __init__(self, shim, variant, chance):
        self.shadow, self.variant, self.chance = shim.shadow, variant, chance

    def entries(self, live, key):
        """Of a directory: names, keys of what they mean, whether that is a directory, and where it is now, if anywhere."""
        if self.variant != "strict":
            return [(path.name, key_of(path), path.is_dir(), path) for path in sorted(live.iterdir())]
        listing = self.shadow / key
        lines = listing.read_text().splitlines() if listing.exists() else []
        return [(name, key, kind == "d", None) for kind, key, name in (line.split(" ", 2) for line in lines)]

    def build(self, live, to, key, modes):
        """Makes a directory as it is on disk, with all below it."""
        to.mkdir()
        for name, key, is_dir, path in self.entries(live, key):
            if is_dir:
                self.build(path, to / name, key, modes)
            else:
                (to / name).write_bytes(self.content(key, path))
            if key in modes:
                (to / name).chmod(modes[key])

    def content(self, key, live):
        kept = self.shadow / key
        synced = kept.read_bytes() if kept.exists() else b""
        if self.variant != "torn":
            return synced
        now = live.read_bytes()
        if now == synced:
            return now
        # The length may be the old one or any up to the new one, and each page the old or the new one.
        length = self.chance.choice([len(synced), len(now), self.chance.randint(0, len(now))])
        length = max(length, len(synced)) if now[:len(synced)] == synced else length
        pages = []
        for at in range(0, length, PAGE_BYTES):
            old, new = synced[at:at + PAGE_BYTES], now[at:at + PAGE_BYTES]
            pages.append(self.chance.choice([old, new])[:length - at].ljust(min(PAGE_BYTES, length - at), b"\0"))
        return b"".join(pages)


def cut(it, shim, variant, chance):
    """Stops everything at once, and puts the directory back to what was on disk. The server is down afterwards."""
    it.server.process.send_signal(signal.SIGKILL)
    kill(processes_with("train", str(it.data_dir)))
    it.server.process.wait()
    it.until("dead", lambda: not processes_with("train", str(it.data_dir)))
    modes = {key_of(path): stat.S_IMODE(path.stat().st_mode) for path in it.data_dir.rglob("*")}
    after = it.data_dir.with_name("after")
    Cut(shim, variant, chance).build(it.data_dir, after, key_of(it.data_dir), modes)
    log = it.data_dir / "serve.log"
    if log.exists():
        shutil.copy(log, after)
    shutil.rmtree(it.data_dir)
    after.rename(it.data_dir)
    shutil.rmtree(shim.shadow)
    shim.shadow.mkdir()
    sync_all(shim, it.data_dir)


def start_again(it):
    it.server.start()
    with contextlib.closing(sqlite3.connect(f"file:{it.data_dir / 'hearth.db'}?mode=ro", uri=True)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)], "the database is damaged"


def is_there(it, path):
    try:
        return it.ask("GET", path)
    except Refused as refused:
        assert refused.status == 404, refused
        return None


def cuts(folder, calm, seed):
    settings, expected, steps = calm
    chance = random.Random(seed)
    root = folder / "power"
    shim = Shim(folder, root, with_shadow=True)
    done = 0
    with world(folder, "power", shim=shim) as it:
        sync_all(shim, it.data_dir)
        for variant in VARIANTS:
            # What was acknowledged is there, and what was deleted stays away.
            it.upload(f"doomed-{variant}")
            it.ask("DELETE", f"{ACCOUNT}/datasets/doomed-{variant}")
            it.upload(f"rows-{variant}")
            secret = {"keyName": "KEY", "value": "hunter2"}
            it.ask("POST", f"{ACCOUNT}/secrets", {"name": f"accounts/default/secrets/s-{variant}", **secret})
            job = f"job-{variant}"
            it.create(job, **{**settings, "dataset": f"rows-{variant}"})
            cut(it, shim, variant, chance)
            start_again(it)
            dataset = is_there(it, f"{ACCOUNT}/datasets/rows-{variant}")
            assert dataset and dataset["state"] == "READY", (variant, dataset)
            assert it.ask("GET", f"{ACCOUNT}/datasets/rows-{variant}:preview"), variant
            assert is_there(it, f"{ACCOUNT}/datasets/doomed-{variant}") is None, variant
            assert is_there(it, f"{ACCOUNT}/secrets/s-{variant}"), variant
            it.job(job)
            done += 1

            # While it trains, behind a checkpoint, and while it writes its results.
            for moment in ("step", "checkpoint", "writing"):
                if moment == "step":
                    it.until_running(job, max(it.steps(job)[1], chance.randrange(steps // 3)) + 1)
                    time.sleep(chance.uniform(0, 0.1))
                else:
                    seen = sum(event["type"] == moment for event in it.events(job))
                    it.until(f"{job} {moment}", pause_s=0.001, check=lambda: sum(
                        event["type"] in (moment, "finished") for event in it.events(job)) > seen)
                cut(it, shim, variant, chance)
                start_again(it)
                done += 1
            it.until_ended(job)
            assert it.digest(job) == expected, f"{variant}: another adapter"

            # What is complete stays so.
            cut(it, shim, variant, chance)
            start_again(it)
            done += 1
            assert it.job(job)["state"] == "JOB_STATE_COMPLETED", it.job(job)
            assert it.digest(job) == expected, f"{variant}: another adapter after its end"
            assert is_there(it, f"{ACCOUNT}/models/{job}"), variant

            # A job that goes on from an adapter has it from its beginning.
            warm = f"warm-{variant}"
            it.create(warm, **{**settings, "baseModel": "", "warmStartFrom": job})
            it.until_running(warm)
            cut(it, shim, variant, chance)
            start_again(it)
            done += 1
            it.until_ended(warm)
            it.ask("DELETE", f"{ACCOUNT}/models/{job}")
            cut(it, shim, variant, chance)
            start_again(it)
            done += 1
            assert is_there(it, f"{ACCOUNT}/models/{job}") is None, f"{variant}: a deleted model came back"
    return f"{done} cuts ({', '.join(VARIANTS)}), {len(VARIANTS)} jobs with equal adapters, {len(VARIANTS)} that go on from one"
