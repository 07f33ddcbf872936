from __future__ import annotations

import gc
import importlib
from collections.abc import Iterator

import pytest

from rag.process.imports import importing


@pytest.fixture(autouse=True)
def _thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_nothing_is_collected_in_the_block_nor_scanned_after_it() -> None:
    assert gc.isenabled()
    with importing():
        assert not gc.isenabled()
        made = [object()]
    assert gc.isenabled()
    assert not any(each is made for each in gc.get_objects())
    assert gc.get_freeze_count() > 0


def test_a_failed_import_and_a_block_inside_another_leave_it_as_it_was() -> None:
    with pytest.raises(ModuleNotFoundError), importing():
        importlib.import_module("no_such_module")
    assert gc.isenabled()
    with importing():
        with importing():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
