"""Builds `shim.c`, and tells the programs that run under it what to suffer."""

import ctypes
import mmap
import os
import struct
import subprocess
from pathlib import Path

FORM = "<qqq488s"
OFFSET_S, IS_FULL, BUDGET_BYTES = 0, 8, 16


class Shim:
    """One control file, one shadow of what is on disk for sure."""

    def __init__(self, folder, root, with_shadow=False):
        self.library = folder / "shim.so"
        if not self.library.exists():
            source = Path(__file__).parent / "shim.c"
            command = ["cc", "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", self.library, source, "-ldl"]
            subprocess.run(command, check=True)
        self.control_path = folder / f"control-{root.name}"
        self.control_path.write_bytes(struct.pack(FORM, 0, 0, 0, b""))
        with open(self.control_path, "r+b") as file:
            self.control = mmap.mmap(file.fileno(), struct.calcsize(FORM))
        self.env = {"LD_PRELOAD": str(self.library), "HEARTH_FAULTS_CONTROL": str(self.control_path),
                    "HEARTH_FAULTS_ROOT": str(root)}
        self.shadow = None
        if with_shadow:
            self.shadow = folder / f"shadow-{root.name}"
            self.shadow.mkdir()
            self.env["HEARTH_FAULTS_SHADOW"] = str(self.shadow)

    def _set(self, at, number):
        self.control[at:at + 8] = struct.pack("<q", number)

    def set_clock(self, offset_s):
        """Sets the wall clock of all programs back or forward."""
        self._set(OFFSET_S, offset_s)

    def fill_disk(self, budget_bytes=0, path=""):
        """Lets so many bytes be written yet, to files whose path has `path` in it; after that the disk is full."""
        self.control[24:24 + 488] = path.encode().ljust(488, b"\0")
        self._set(BUDGET_BYTES, budget_bytes)
        self._set(IS_FULL, 1)

    def free_disk(self):
        """There is room again."""
        self._set(IS_FULL, 0)


def key_of(path):
    """What the shim calls a file or directory in its shadow: inode and time of birth. None if there is no such."""
    about = ctypes.create_string_buffer(256)
    at_fdcwd, no_follow, basic_and_birth = -100, 0x100, 0xfff
    if ctypes.CDLL(None).statx(at_fdcwd, os.fsencode(path), no_follow, basic_and_birth, about) != 0:
        return None
    inode, = struct.unpack_from("<Q", about, 32)
    seconds, nanoseconds = struct.unpack_from("<qI", about, 80)
    return f"{inode}-{seconds}.{nanoseconds:09}"
