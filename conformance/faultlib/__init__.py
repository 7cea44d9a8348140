"""Faults that are injected into real servers and trainers; `conformance/faults.py` runs them.

`shim.c` and `shim.py` stand between the programs and the system, `world.py` is a server with jobs that take seconds, and each
other module holds the faults of one kind.
"""
