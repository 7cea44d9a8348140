"""Nothing is lost, whatever breaks: kills, power cuts, damaged checkpoints, full disks, a locked database, stopped trainers,
clocks that jump, broken connections. Each fault is injected into the built binary; each job must end with the adapter of one
that nobody disturbed, byte for byte.

`python conformance/faults.py [NAME...]` runs some of them; `--seed N` repeats a run's random moments.
"""

import argparse
import random
import sys
import time

from faultlib import calm, checkpoints, clock, database, disk, kills, network, power, power_work, silence
from harness import scratch


def main():
    sys.stdout.reconfigure(line_buffering=True)
    faults = {
        "kills": lambda: kills.everything(folder, undisturbed, seed),
        "kills-real-base": lambda: kills.real_base(folder, seed),
        "power": lambda: power.cuts(folder, undisturbed, seed),
        "power-work": lambda: power_work.cuts(folder, seed),
        "checkpoints": lambda: checkpoints.damaged(folder, undisturbed, seed),
        "disk-jobs": lambda: disk.jobs(folder, undisturbed),
        "disk-server": lambda: disk.server(folder, undisturbed),
        "database": lambda: database.locked(folder, undisturbed),
        "silence": lambda: silence.stopped(folder, undisturbed),
        "clock": lambda: clock.jumps(folder, undisturbed),
        "network": lambda: network.broken(folder),
    }
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(faults))
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(faults)
    assert not unknown, f"there is no fault {unknown}; there are {', '.join(faults)}"
    seed = arguments.seed
    with scratch() as folder:
        print(f"faults: seed {seed}")
        began = time.monotonic()
        undisturbed = calm.calm(folder)
        print(f"faults: an undisturbed job has {undisturbed[2]} steps ({time.monotonic() - began:.0f} s)")
        for name in arguments.names or faults:
            at = time.monotonic()
            print(f"faults: {name}: {faults[name]()} ({time.monotonic() - at:.0f} s)")
        print(f"faults: all passed ({time.monotonic() - began:.0f} s)")


if __name__ == "__main__":
    main()
