"""The wall clock set back and forward while a job runs."""

import datetime
import time

from .shim import Shim
from .world import ACCOUNT, ENDED, world

HOUR_S = 3600


def jumps(folder, calm):
    settings, expected, steps = calm
    shim = Shim(folder, folder / "clock")
    with world(folder, "clock", shim=shim) as it:
        it.create("jumps", **settings)
        it.until_running("jumps")
        url = it.job("jumps")["metricsFileSignedUrl"]
        percent = 0
        for offset_s in (-HOUR_S, 0, HOUR_S, -HOUR_S):
            shim.set_clock(offset_s)
            for _ in range(5):
                job = it.job("jumps")
                assert job["status"]["code"] == "OK" and job["state"] not in ("JOB_STATE_RE_QUEUEING", *ENDED[1:]), job
                assert job["jobProgress"]["percent"] >= percent, job
                percent = job["jobProgress"]["percent"]
                assert seconds(job["updateTime"]) >= seconds(job["createTime"]), job
                time.sleep(0.1)
            if offset_s <= 0:
                # One that was signed before is good for its whole time, if the clock does not say that it is over.
                it.ask("GET", url)
        it.create("made-in-the-past", **{**settings, "epochs": 2})
        ended = it.until_ended("jumps")
        assert seconds(ended["completedTime"]) >= seconds(ended["createTime"]), ended
        assert it.digest("jumps") == expected, "another adapter"
        it.until_ended("made-in-the-past")
        times = [event["time_ms"] for event in it.events("jumps")]
        assert times == sorted(times), "events go back in time"
        assert sum(event["type"] == "started" for event in it.events("jumps")) == 1, "the trainer was replaced"
        remaining = [event["seconds_remaining"] for event in it.events("jumps") if event["type"] == "step"]
        assert all(0 <= left < HOUR_S / 2 for left in remaining), max(remaining)

        # A trainer that was asked to stop has its time, whatever the clock says meanwhile.
        it.create("cancelled", **settings)
        it.until_running("cancelled", step=min(30, steps // 3))
        it.ask("POST", f"{ACCOUNT}/supervisedFineTuningJobs/cancelled:cancel", {})
        shim.set_clock(HOUR_S)
        it.until("the trainer gone", lambda: not it.trainers("cancelled"))
        assert it.events("cancelled")[-1]["type"] == "paused", it.events("cancelled")[-1]
        it.ask("POST", f"{ACCOUNT}/supervisedFineTuningJobs/cancelled:resume", {})
        it.until_ended("cancelled")
        assert it.digest("cancelled") == expected, "another adapter"
    return "an hour back, forward and back again: one trainer, true times, equal adapters"


def seconds(text):
    return datetime.datetime.fromisoformat(text).timestamp()
