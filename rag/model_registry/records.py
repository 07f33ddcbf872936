"""The records of the registry, as its file has them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

FORMAT = 1
"""The version of the file's format; it increases if older versions cannot read the new one."""

ModelKind = Literal["embedder", "reranker", "generator", "adapter", "entailment"]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileStamp(_Record):
    """A file of a model: size in bytes, time of its last change in nanoseconds, and SHA-256."""

    size: int
    mtime_ns: int
    sha256: str


class Comparison(_Record):
    """A comparison of a model with its reference.

    `reference` is NAME@VERSION. The digests are those of both models when they were compared: with
    other files the comparison is void. `report` has the figures.
    """

    reference: str
    reference_digest: str
    candidate_digest: str
    passed: bool
    at: str
    report: Mapping[str, Any]


class ModelVersion(_Record):
    """A version of a model.

    `folder` is relative to the registry's folder if it is within it, else absolute. `files` are by
    their paths in it. Times are ISO 8601, UTC; None: it has not happened, or the files changed
    since.
    """

    folder: str
    kind: ModelKind
    quantized: bool
    files: Mapping[str, FileStamp]
    added: str
    verified: str | None = None
    warmed: str | None = None
    promoted: str | None = None
    comparison: Comparison | None = None

    @property
    def size(self) -> int:
        """The bytes of all files."""
        return sum(file.size for file in self.files.values())

    @property
    def digest(self) -> str:
        """The SHA-256 of the names and checksums of all files."""
        lines = "".join(f"{self.files[name].sha256}  {name}\n" for name in sorted(self.files))
        return hashlib.sha256(lines.encode()).hexdigest()


class Model(_Record):
    """The versions of a model; `promoted` is in use, `before` was in use before it."""

    versions: Mapping[str, ModelVersion]
    promoted: str | None = None
    before: str | None = None


class Contents(_Record):
    """The contents of the registry's file: models by name."""

    format: int = FORMAT
    models: Mapping[str, Model] = {}

    def with_model(self, name: str, model: Model | None) -> Contents:
        """Returns the contents with another record of a model; None: without it."""
        models = {known: each for known, each in self.models.items() if known != name}
        if model is not None:
            models[name] = model
        return self.model_copy(update={"models": dict(sorted(models.items()))})
