"""Small disks for tests."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """Mounts a separate disk of `megabytes`; skips the test if the machine does not allow it."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("only root mounts a disk")
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path, *, leave: int) -> Path:
    """Fills a disk except for `leave` bytes."""
    filler = folder / "filler"
    with filler.open("wb") as file:
        while True:
            disk = os.statvfs(folder)
            try:
                os.posix_fallocate(file.fileno(), 0, disk.f_bavail * disk.f_frsize - leave)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                file.truncate(0)  # somebody else took some of it meanwhile
            else:
                return filler
