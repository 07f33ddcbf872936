from __future__ import annotations

import gc
import importlib
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from rag.process.imports import UNUSED, importing, importing_for_command

PRINT_MODULES = """
import json, sys
from rag.cli.main import main
code = main(["status", "--json"])
print(json.dumps([code, *sys.modules]))
"""
HEAVY = {"numpy", "sqlalchemy.orm", "onnxruntime", "httpcore", "jinja2", "alembic", *UNUSED}
"""Modules of which `rag status` needs none in a folder that is up to date."""


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


def test_models_of_a_command_are_compiled_at_their_first_use() -> None:
    with warnings.catch_warnings(), importing_for_command():

        class Inside(BaseModel):
            number: int

    class Outside(BaseModel):
        number: int

    assert not Inside.__pydantic_complete__
    assert Outside.__pydantic_complete__
    assert Inside(number=1).model_dump() == {"number": 1}
    assert Inside.__pydantic_complete__


def test_an_unused_module_cannot_be_imported_in_the_block_and_can_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in UNUSED:
        monkeypatch.delitem(sys.modules, name, raising=False)
        with warnings.catch_warnings():
            with importing_for_command(), pytest.raises(ModuleNotFoundError):
                importlib.import_module(name)
            importlib.import_module(name)


def test_status_imports_neither_numpy_nor_the_parts_of_other_commands(tmp_path: Path) -> None:
    env = {**os.environ, "RAG_DATA_DIR": str(tmp_path)}
    command = [sys.executable, "-c", PRINT_MODULES]
    subprocess.run(command, env=env, check=True, capture_output=True)  # makes the catalog
    printed = subprocess.run(command, env=env, check=True, capture_output=True).stdout
    code, *modules = json.loads(printed.splitlines()[-1])
    assert code == 0
    assert not sorted(HEAVY & set(modules))
    assert not {name for name in modules if name.startswith(("generation", "retrieval.embedders"))}
