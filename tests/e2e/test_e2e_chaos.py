"""`rag chaos`, as a command."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest

from rag.operations.chaos.experiments import EXPERIMENTS
from tests.servers import rag

STEADY = {
    "questions failed",
    "answers wrong",
    "requests with documents failed",
    "documents lost",
    "documents doubled",
    "documents that nobody sent",
}
"""The checks that do not depend on how busy the machine is."""


def folders() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("plumbline-chaos-*"))


def test_the_loss_of_an_engine_costs_no_more_than_was_under_way(tmp_path: Path) -> None:
    before = folders()
    ran = rag("chaos", "kill-engine", "--i-know", "--seconds", "2", "--json", data=tmp_path / "d")
    assert ran.stdout, ran.stderr
    report = json.loads(ran.stdout)
    checks = [check for check in report["checks"] if check["what"] in STEADY]
    assert {check["what"] for check in checks} == STEADY
    assert [check for check in checks if not check["holds"]] == []
    assert all(phase["right"] for phase in report["phases"])
    assert report["documents"]["accepted"] > 20
    assert ran.returncode == (0 if report["holds"] else 1)
    assert folders() <= before, "its folder is removed"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["kill-engine"], "add --i-know"),
        (["kill-worker", "--i-know"], "needs a Qdrant server"),
        (
            ["kill-worker", "--i-know", "--qdrant-url", "http://10.0.0.7:6333"],
            "not on this machine",
        ),
        (["kill-engine", "--i-know", "--seconds", "3600"], "from 1 to 600"),
        (["meteorite", "--i-know"], "invalid choice"),
    ],
)
def test_what_is_not_meant_or_not_possible_is_refused(
    tmp_path: Path, arguments: list[str], says: str
) -> None:
    ran = rag("chaos", *arguments, data=tmp_path / "data")
    assert ran.returncode == 2
    assert says in ran.stderr


def test_it_lists_the_experiments(tmp_path: Path) -> None:
    listed = json.loads(rag("chaos", "list", "--json", data=tmp_path / "data").stdout)
    assert [each["experiment"] for each in listed["experiments"]] == list(EXPERIMENTS)
