"""The number of cores, on systems that tell which of them a process may use and on others."""

from __future__ import annotations

import os

import pytest

from rag.process.cores import core_count


def test_only_cores_that_this_process_may_use_are_counted() -> None:
    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("this system does not tell")
    assert core_count() == len(os.sched_getaffinity(0))


def test_all_cores_are_counted_where_the_system_does_not_tell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert core_count() == 3
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert core_count() == 1
