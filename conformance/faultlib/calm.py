"""What a job gives that nobody disturbs: the settings that all others take, and the adapter that they must end with."""

from .world import SETTINGS, world

# A job should last so long that faults meet it at many places, on slow machines and fast ones.
AIM_S = 3.5
# Fifteen checkpoints at least.
EPOCHS_MIN, EPOCHS_MAX = 25, 100


def calm(folder):
    """Finds out how many epochs take the time that is aimed at. Returns them, and the adapter's digest."""
    with world(folder, "calm") as it:
        it.create("trial", epochs=EPOCHS_MIN)
        it.until_ended("trial")
        steps = [event["time_ms"] for event in it.events("trial") if event["type"] == "step"]
        epoch_s = max(steps[-1] - steps[0], 1) / 1000 / EPOCHS_MIN
        epochs = max(EPOCHS_MIN, min(EPOCHS_MAX, round(AIM_S / epoch_s)))
        settings = {**SETTINGS, "epochs": epochs}
        it.create("calm", **settings)
        it.until_ended("calm")
        return settings, it.digest("calm"), it.steps("calm")[1]
