"""Figures for bench/record."""

import csv
import datetime
import os
import platform
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def save(name, table, columns):
    """Writes bench/record/<machine>/<name>-<date>.csv; each row also gets the time, the machine and the version."""
    cpu = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")), platform.machine())
    version = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    now = datetime.datetime.now(datetime.UTC)
    for row in table:
        row.update(time=now.isoformat(timespec="seconds"), cpu=cpu, cores=os.cpu_count(), version=version.stdout.strip())
    vendor = "amd-epyc" if "EPYC" in cpu else "other"
    path = ROOT / f"bench/record/{vendor}-{os.cpu_count()}-cores/{name}-{now.date()}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(table)
    print(path.relative_to(ROOT))
