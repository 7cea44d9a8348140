"""A newest checkpoint that is damaged: the run goes on from the one before, and says so."""

import os
import random
import signal

from .kills import kill
from .world import world


def flip(path, chance):
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def truncate(path, chance):
    path.write_bytes(path.read_bytes()[:chance.randrange(1, path.stat().st_size)])


def empty(path, _chance):
    path.write_bytes(b"")


def remove(path, _chance):
    path.unlink()


def send(processes, number):
    for process in processes:
        os.kill(process, number)


DAMAGES = [("tensors.safetensors", flip), ("tensors.safetensors", truncate), ("state.json", flip), ("state.json", empty),
           ("SHA256SUMS", remove)]


def damaged(folder, calm, seed):
    settings, expected, _ = calm
    chance = random.Random(seed)
    with world(folder, "checkpoints") as it:
        it.create("damaged", **settings)
        for number, (file, damage) in enumerate(DAMAGES):
            before = sum(event["type"] == "checkpoint" for event in it.events("damaged"))
            it.until("two more checkpoints", lambda: sum(
                event["type"] == "checkpoint" for event in it.events("damaged")) >= before + 2)
            it.server.process.send_signal(signal.SIGKILL)
            it.server.process.wait()
            kill(it.trainers("damaged"))
            it.until("dead", lambda: not it.trainers("damaged"))
            steps = sorted(path for path in (it.run_dir("damaged") / "checkpoints").glob("step-*"))
            newest, earlier = steps[-1], int(steps[-2].name.removeprefix("step-"))
            damage(newest / file, chance)
            it.server.start()
            started = it.until("a new trainer", lambda: [
                event for event in it.events("damaged") if event["type"] == "started"][number + 1:])
            assert started[0]["resumed_from_step"] == earlier, (file, damage.__name__, started)
            said = f"{newest.name} is damaged"
            it.until("a warning", lambda: any(
                said in event.get("message", "") for event in it.events("damaged") if event["type"] == "warning"))
            # Held while the server takes it in: it would be at its end before the next damage.
            trainers = it.trainers("damaged")
            send(trainers, signal.SIGSTOP)
            it.until("a status", lambda: said in it.job("damaged")["status"]["message"])
            send(trainers, signal.SIGCONT)
        ended = it.until_ended("damaged")
        assert ended["status"]["code"] == "OK" and said in ended["status"]["message"], ended
        assert it.digest("damaged") == expected, "another adapter"
        log = it.ask("GET", ended["trainerLogsSignedUrl"]).decode()
        assert log.count("is damaged") == len(DAMAGES) and "going on from step" in log, log
    return f"{len(DAMAGES)} damaged checkpoints, each time back to the one before"
