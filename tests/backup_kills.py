"""Kills backups and restores at random moments, and checks what is left after each.

`python -m benchmarks.run backup` does it twenty times, the tests a few.
"""

from __future__ import annotations

import json
import random
import shutil
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.servers import rag, start

MUCH = 0.8
"""Share of the killed backups that have everything to store."""


def kills(data: Path, rounds: int, dice: random.Random) -> Counter[str]:
    """Kills so many backups of `data`, and as many restores; returns how they ended.

    Whatever is killed: each backup that is listed is whole, and a folder of a restore is missing or
    whole. At the end a backup and a restore succeed.
    """
    ends: Counter[str] = Counter()
    place = data.parent / "killed-backups"
    to = ("--place", str(place))
    run("backup", "create", *to, data=data)  # the first takes longer
    empty(place)
    began = time.monotonic()
    run("backup", "create", *to, data=data)
    seconds = time.monotonic() - began
    for _ in range(rounds):
        if dice.random() < MUCH:
            empty(place)  # there is much to write
        before = listed(data, place)
        if killed("backup", "create", *to, data=data, after=dice.uniform(0, seconds)):
            ends["backup killed"] += 1
        for id_ in listed(data, place):
            run("backup", "verify", id_, *to, data=data)
        assert set(before) <= set(listed(data, place))
    run("backup", "create", *to, data=data)
    target = data.parent / "killed-restore"
    began = time.monotonic()
    run("restore", *to, data=target)
    seconds = time.monotonic() - began
    whole = files(target)
    for _ in range(rounds):
        shutil.rmtree(target)
        if killed("restore", *to, data=target, after=dice.uniform(0, seconds)):
            ends["restore killed"] += 1
        if target.exists():
            assert files(target) == whole
            ends["killed once it was in place"] += 1
        else:
            run("restore", *to, data=target)
            assert files(target) == whole
    left = [path.name for path in target.parent.glob(".killed-restore.*")]
    assert left == [], left
    return ends


def empty(place: Path) -> None:
    """Removes all backups."""
    for name in ("objects", "manifests"):
        shutil.rmtree(place / name, ignore_errors=True)


def killed(*arguments: str, data: Path, after: float) -> bool:
    """Kills a command after so many seconds; returns False if it had ended before."""
    process = start(*arguments, data=data, log=data.parent / "killed.log")
    time.sleep(after)
    ended = process.poll() is not None
    process.kill()
    process.wait()
    return not ended


def run(*arguments: str, data: Path) -> Any:
    ran = rag(*arguments, "--json", data=data)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def listed(data: Path, place: Path) -> list[str]:
    """The ids of all backups; none of them is damaged."""
    found = run("backup", "list", "--place", str(place), data=data)["backups"]
    assert not [each for each in found if "error" in each], found
    return [each["id"] for each in found]


def files(folder: Path) -> dict[str, int]:
    """The sizes of the files that a backup restores; not those that a process makes meanwhile."""
    return {
        str(path.relative_to(folder)): path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(("lock", "catalog.sqlite-"))
    }
