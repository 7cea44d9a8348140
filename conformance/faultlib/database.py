"""The database locked by another program for longer than the server waits."""

import contextlib
import sqlite3
import threading
import time

from .world import ACCOUNT, Refused, world

UNAVAILABLE = 14
# Longer than the server waits for the lock (crates/store/src/datastore.rs).
LOCKED_S = 12


def locked(folder, calm):
    settings, expected, _ = calm
    with world(folder, "locked") as it:
        it.create("goes-on", **settings)
        it.until_running("goes-on")
        answers = []

        def write(number):
            secret = {"name": f"accounts/default/secrets/s{number}", "keyName": "KEY", "value": "v"}
            try:
                it.ask("POST", f"{ACCOUNT}/secrets", secret)
                answers.append("done")
            except Refused as refused:
                answers.append(refused)

        with contextlib.closing(sqlite3.connect(it.data_dir / "hearth.db", isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            began = time.monotonic()
            threads = [threading.Thread(target=write, args=[number]) for number in range(12)]
            for thread in threads:
                thread.start()
            while time.monotonic() < began + LOCKED_S:
                it.job("goes-on")
                it.ask("GET", "/healthz")
                time.sleep(0.2)
            other.execute("ROLLBACK")
        for thread in threads:
            thread.join()
        refused = [answer for answer in answers if answer != "done"]
        assert refused, "nobody had to wait"
        for answer in refused:
            assert answer.code == UNAVAILABLE and answer.status == 503 and "locked" in answer.message, answer
        kept = it.ask("GET", f"{ACCOUNT}/secrets?pageSize=50").get("secrets", [])
        assert len(kept) == answers.count("done"), (len(kept), answers)
        it.until_ended("goes-on")
        assert it.digest("goes-on") == expected, "another adapter"
    return f"{LOCKED_S} s: {len(refused)} of {len(answers)} writes were UNAVAILABLE, reads and the job went on"
