"""SIGSTOP: a trainer that is there and does nothing."""

import os
import signal
import time

from .world import world

SILENCE_S = 3


def stopped(folder, calm):
    settings, expected, _ = calm
    with world(folder, "silence", "--trainer-silence", str(SILENCE_S)) as it:
        for job, with_new_server in (("stopped", False), ("stopped-too", True)):
            it.create(job, **settings)
            it.until_running(job)
            # A server that stood still itself, as its trainer did, learns nothing from that.
            trainer, = it.trainers(job)
            it.server.process.send_signal(signal.SIGSTOP)
            os.kill(trainer, signal.SIGSTOP)
            time.sleep(SILENCE_S + 1)
            os.kill(trainer, signal.SIGCONT)
            it.server.process.send_signal(signal.SIGCONT)
            it.job(job)
            first = started(it, job)
            assert len(first) == 1, first

            if with_new_server:
                # Before: the system ends a stopped process whose parent dies.
                it.server.kill()
                it.server.start()
            trainer, = it.trainers(job)
            os.kill(trainer, signal.SIGSTOP)
            began = time.monotonic()
            it.until("a new trainer", lambda: len(started(it, job)) > 1, timeout_s=10 * SILENCE_S)
            took = time.monotonic() - began
            assert took >= SILENCE_S - 1, f"lost after {took} s"
            assert trainer not in it.trainers(job), "the stopped trainer lives"
            ended = it.until_ended(job)
            assert ended["status"]["code"] == "OK", ended
            assert it.digest(job) == expected, "another adapter"
            log = it.ask("GET", ended["trainerLogsSignedUrl"]).decode()
            assert f"gave no sign of life for {SILENCE_S} seconds" in log, log
    return "a stopped trainer was lost and replaced, with the server that started it and with another"


def started(it, job):
    return [event["pid"] for event in it.events(job) if event["type"] == "started"]
