"""The file `plumbline.json`, which `rag models convert` writes beside a graph."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, get_args

from rag.inference.int8 import is_exact
from rag.types import Float32Array
from retrieval.embedders.onnx_encoder import Pooling
from retrieval.embedders.probe import EXACT, ROUGH, Probe

if TYPE_CHECKING:
    from rag.inference.onnx_folder import OnnxFolder
    from rag.inference.onnx_writer import Precision

FILE = "plumbline.json"


class ModelRecord(NamedTuple):
    """Facts about a converted model, by which it is checked when it is loaded."""

    sha256: str
    """Of the graph's file."""
    dim: int
    pooling: Pooling
    precision: Precision
    probe: Probe
    """By sentence-transformers."""

    def write(self, folder: Path) -> None:
        """Writes the file."""
        content = self._asdict() | {"probe": self.probe._asdict()}
        (folder / FILE).write_text(json.dumps(content, indent=1) + "\n")

    def check_file(self, folder: OnnxFolder) -> None:
        """Checks the graph's file, before it is opened.

        Raises:
            ConfigError: It is not the file that was written, or this CPU cannot compute with it.
        """
        if file_hash(folder.file) != self.sha256:
            raise folder.refused(
                f"is damaged: {folder.file.name} has another checksum than {FILE} says",
                "copy the folder again, or convert the model again",
            )
        if self.precision == "int8" and not is_exact():
            raise folder.refused(
                "is in int8, and this CPU multiplies bytes with losses",
                "convert the model without --int8",
            )

    def check_pooling(self, folder: OnnxFolder, pooling: Pooling) -> None:
        """Checks the pooling.

        Raises:
            ConfigError: It is another one.
        """
        if pooling != self.pooling:
            raise folder.refused(
                f"was converted with pooling {self.pooling!r}, and is to be pooled by {pooling!r}",
                "remove embedder.pooling, or convert the model again",
            )

    def check_vector(self, folder: OnnxFolder, vector: Float32Array) -> None:
        """Checks the vector that the engine computes of the probe's text.

        Raises:
            ConfigError: It is not the stored one.
        """
        if len(vector) != self.dim:
            raise folder.refused(
                f"returns {len(vector)} numbers for a text, and {FILE} says {self.dim}",
                "convert the model again",
            )
        far = self.probe.distance(vector)
        if not far <= (EXACT if self.precision == "float32" else ROUGH):
            raise folder.refused(
                f"computes something else here than sentence-transformers did: a vector is"
                f" {far:.0%} away from the one in {FILE}",
                "convert the model again, and compare the versions of onnxruntime",
            )


def read_record(folder: OnnxFolder) -> ModelRecord | None:
    """Returns what the conversion wrote; None if the folder was not made by it.

    Raises:
        ConfigError: The file is damaged.
    """
    found = folder.json(FILE)
    if not found:
        return None
    try:
        probe = Probe(found["probe"]["text"], tuple(map(float, found["probe"]["numbers"])))
        record = ModelRecord(**(found | {"probe": probe}))
        if record.pooling not in get_args(Pooling) or not isinstance(record.dim, int):
            raise ValueError(f"pooling {record.pooling!r}, dim {record.dim!r}")  # noqa: TRY301
    except (KeyError, TypeError, ValueError) as error:
        raise folder.refused(
            f"cannot be read: {FILE}: {error}", "convert the model again"
        ) from error
    return record


def file_hash(file: Path) -> str:
    """Returns the SHA-256 of a file."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
