"""A model's folder, and a registry."""

from __future__ import annotations

from pathlib import Path

import pytest

from rag.model_registry.registry import Registry
from tests.model_folders import make_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "files" / "tiny")


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "models")
