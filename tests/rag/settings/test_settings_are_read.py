"""Each setting is read by some code outside the settings: none is unused."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from rag.settings.tree import Settings
from tests.places import ROOT

PACKAGES = ("rag", "ingest", "retrieval", "generation", "eval", "workers")


def attributes() -> set[str]:
    """Returns the names of all attributes that the product reads outside the settings' code."""
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    trees = [ast.parse(f.read_text()) for f in files if "settings" not in f.relative_to(ROOT).parts]
    names: set[str] = set()
    for node in (node for tree in trees for node in ast.walk(tree)):
        match node:
            case ast.Attribute(attr=name, ctx=ast.Load()):
                names.add(name)
            case ast.MatchClass(kwd_attrs=matched):
                names.update(matched)
            case _:
                pass
    return names


def parts(of: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Yields a model of settings and all models nested in it, for each kind of a part."""
    yield of
    for field in of.model_fields.values():
        for kind in models_in(field.annotation):
            yield from parts(kind)


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in getattr(annotation, "__args__", ()) + getattr(annotation, "__metadata__", ()):
        yield from models_in(inner)


def test_every_setting_is_read() -> None:
    read = attributes()
    found = {(part, name) for part in parts(Settings) for name in part.model_fields}
    assert len(found) > 100
    unread = {f"{part.__name__}.{name}" for part, name in found if name not in read}
    assert unread == {"Settings.profile"}  # the settings themselves read it
