"""The picture of the architecture matches the code."""

from __future__ import annotations

import ast
from pathlib import Path

from rag import protocols
from tests.architecture import PACKAGES, PICTURE, draw, imports, levels, needed
from tests.places import ROOT

ALIKE = (
    ("rag/build", "rag/settings", "rag/cli", "rag/gateway"),
    ("rag", "rag/api", "rag/api/openai", "rag/client"),
    ("rag/cli", "rag/api/routes", "rag/catalog", "rag/records", "rag/client"),
)
"""Folders whose modules may share names, because they are parts of one concern."""
FILE_LINES, CLASS_LINES = 400, 250
"""The most lines of a file and of a class of the product."""


def test_the_picture_is_made_of_todays_imports() -> None:
    assert PICTURE.read_text() == draw(imports()), "Run `make architecture`."


def test_arrows_that_follow_from_others_are_left_out() -> None:
    edges = {
        "a": frozenset({"b", "c"}),
        "b": frozenset({"c"}),
        "c": frozenset[str](),
    }
    assert needed(edges) == {"a": ["b"], "b": ["c"], "c": []}
    assert levels(edges) == {"a": 2, "b": 1, "c": 0}


def test_no_protocol_has_more_than_five_methods_of_its_own() -> None:
    module = ast.parse(Path(protocols.__file__).read_text())
    methods = {
        each.name: [
            m.name for m in each.body if isinstance(m, ast.FunctionDef | ast.AsyncFunctionDef)
        ]
        for each in module.body
        if isinstance(each, ast.ClassDef)
    }
    assert "Index" in methods
    assert {name: own for name, own in methods.items() if len(own) > 5} == {}


def test_a_module_name_means_one_thing_in_a_package() -> None:
    for package in PACKAGES:
        folders: dict[str, list[str]] = {}
        for file in (ROOT / package).rglob("*.py"):
            if file.name != "__init__.py":
                folders.setdefault(file.name, []).append(str(file.parent.relative_to(ROOT)))
        for name, places in folders.items():
            if len(places) > 1:  # a concern that is opened and set, or a resource that is stored
                assert any(set(places) <= set(alike) for alike in ALIKE), (name, places)


def test_files_and_classes_are_small() -> None:
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    texts = {str(file.relative_to(ROOT)): file.read_text() for file in files}
    assert len(texts) > 200
    assert {name for name, text in texts.items() if len(text.splitlines()) > FILE_LINES} == set()
    classes = {
        f"{name}: {each.name}": (each.end_lineno or 0) - each.lineno + 1
        for name, text in texts.items()
        for each in ast.walk(ast.parse(text))
        if isinstance(each, ast.ClassDef)
    }
    assert {name: lines for name, lines in classes.items() if lines > CLASS_LINES} == {}
