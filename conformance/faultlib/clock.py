"""The wall clock set back and forward while a job runs."""

import datetime
import time

from .shim import Shim
from .world import ACCOUNT, ENDED, Refused, world

HOUR_S = 3600
# Looks at the job with each time of the clock.
POLLS = 3


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
            before = it.steps("jumps")[1]
            for _ in range(POLLS):
                job = it.job("jumps")
                assert job["status"]["code"] == "OK" and job["state"] not in ("JOB_STATE_RE_QUEUEING", *ENDED[1:]), job
                assert job["jobProgress"]["percent"] >= percent, job
                percent = job["jobProgress"]["percent"]
                assert seconds(job["updateTime"]) >= seconds(job["createTime"]), job
                time.sleep(0.1)
            # The clock met a trainer that lives.
            it.until_running("jumps", step=before + 1)
            # One that was signed before is good for its whole time, if the clock does not say that it is over.
            assert is_good(it, url) == (offset_s <= 0), f"the server's clock is not at {offset_s} s"
        made = it.create("made-in-the-past", **{**settings, "epochs": 2})
        assert abs(time.time() - HOUR_S - seconds(made["createTime"])) < HOUR_S / 60, made
        ended = it.until_ended("jumps")
        assert seconds(ended["completedTime"]) >= seconds(ended["createTime"]), ended
        assert it.digest("jumps") == expected, "another adapter"
        it.until_ended("made-in-the-past")
        times = [event["time_ms"] for event in it.events("jumps")]
        assert times == sorted(times), "events go back in time"
        assert times[-1] - times[0] >= HOUR_S * 1000, "the trainer's clock was never an hour on"
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


def is_good(it, url):
    try:
        it.ask("GET", url)
    except Refused:
        return False
    return True


def seconds(text):
    return datetime.datetime.fromisoformat(text).timestamp()
