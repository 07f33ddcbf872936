"""Killed at random: nothing is lost, doubled, old or left behind. `tests.killing` does the work."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT


def killed(folder: Path, *, seed: int, kills: int, seconds: float) -> dict[str, Any]:
    """What was killed, and what it did until then; fails where a fork found something wrong."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.killing", folder, str(seed), str(kills), str(seconds)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=seconds + 120,
        check=False,
    )
    assert ran.returncode == 0, f"seed {seed}: {ran.stderr[-3000:]}"
    told: dict[str, Any] = json.loads(ran.stdout)
    return told


def test_killed_at_random_nothing_is_lost_doubled_old_or_left_behind(folder: Path) -> None:
    told = killed(folder, seed=7, kills=30, seconds=15)
    assert sum(told["kills"].values()) >= 5
    assert told["did"]["verified"] >= 3


@pytest.mark.attack
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", [1, 2])
def test_200_kills_lose_double_and_leave_nothing(folder: Path, seed: int) -> None:
    told = killed(folder, seed=seed, kills=200, seconds=1000)
    assert sum(told["kills"].values()) == 200
    assert {"upload", "delete", "sync", "reindex", "roll_back"} <= told["did"].keys()
