"""A folder with an encoder for ONNX Runtime, and what its files say of the computation."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import numpy as np

from rag.inference.onnx_folder import OnnxFolder
from rag.inference.onnx_graph import OnnxGraph
from rag.privacy.redaction import words
from rag.types import Float32Array, Kind
from retrieval.embedders.checkpoint import files_digest
from retrieval.embedders.messages import Model
from retrieval.embedders.model_record import read_record
from retrieval.embedders.onnx_encoder import OnnxEncoder, Pooling, pooled
from retrieval.embedders.probe import TEXT
from retrieval.embedders.sentence_files import pooling_file, pooling_modes, prompts_of

_POOLINGS: Mapping[str, Pooling] = {
    "mean": "mean",
    "cls": "cls",
    "cls_token": "cls",
    "lasttoken": "last",
}
"""The names in configurations."""
OWN_PROMPTS: Mapping[Kind, str | None] = {"query": None, "passage": None}
_NO_MODULES = Path("1_Pooling/config.json")
_AXES = 3


class OnnxCheckpoint:
    """A folder's graph with its pooling, prompts and window."""

    def __init__(
        self,
        model: str,
        *,
        file: str | None = None,
        pooling: Pooling | None = None,
        prompts: Mapping[Kind, str | None] = OWN_PROMPTS,
    ) -> None:
        """Reads the configuration.

        Args:
            model: a folder, or a name on the hub.
            file: the graph's path in it; None: `model.onnx` or `onnx/model.onnx`.
            pooling: of a model whose files do not say it; None: as they say.
            prompts: put before texts of each kind; None: the prompts of the configuration.

        Raises:
            ConfigError: A file is missing, damaged, or not the one that was converted; or the
                model computes something else than these poolings.
        """
        self._files = OnnxFolder(model, file=file, owner="embedder")
        self._record = read_record(self._files)
        if self._record:
            self._record.check_file(self._files)
        self.pooling = self._pooling_of(pooling)
        own = prompts_of(self._files.folder)
        self._prompts = {
            kind: own[kind] if given is None else given for kind, given in prompts.items()
        }
        self._max_tokens = self._files.window()

    def encoder(self) -> OnnxEncoder:
        """Opens the graph and checks a vector of it.

        Raises:
            ConfigError: The graph or the tokenizer cannot be opened, or computes something else
                than was recorded.
        """
        tokenizer = self._files.tokenizer(window=self._max_tokens)
        graph = self._files.graph(axes=_AXES)
        text = self._record.probe.text if self._record else TEXT
        encoding = tokenizer.encode(text)
        vector = self._first(graph, encoding.ids, encoding.type_ids)
        if self._record:
            self._record.check_vector(self._files, vector)
        model = Model(
            dim=len(vector),
            token_dim=len(vector),
            max_tokens=self._max_tokens,
            fingerprint=self._fingerprint(),
            tokenizer=self._files.tokenizer(window=None).to_str(),
        )
        return OnnxEncoder(graph, tokenizer, model, pooling=self.pooling, prompts=self._prompts)

    def _first(self, graph: OnnxGraph, ids: list[int], kinds: list[int]) -> Float32Array:
        try:
            vector = pooled(graph(ids, kinds=kinds), self.pooling)
        except Exception as error:  # errors of ONNX Runtime are of many types
            raise self._files.refused(
                f"cannot be run: {words(error)}", "export it with axes of any length"
            ) from error
        if not np.isfinite(vector).all():
            raise self._files.refused("returns no finite numbers", "export it again, in float32")
        return vector

    def _pooling_of(self, given: Pooling | None) -> Pooling:
        said = self._said_pooling()
        if said and given and said != given:
            raise self._files.refused(
                f"is pooled by {said!r}, and embedder.pooling says {given!r}",
                "remove embedder.pooling",
            )
        pooling = said or given
        if not pooling:
            raise self._files.refused(
                "does not say how it is pooled",
                f"set embedder.pooling to {' or '.join(get_args(Pooling))}, as its model card says",
            )
        if self._record:
            self._record.check_pooling(self._files, pooling)
        return pooling

    def _said_pooling(self) -> Pooling | None:
        folder = self._files.folder
        listed = pooling_file(folder, advice='which `kind = "onnx"` does not compute.')
        config = self._files.json(str(listed.relative_to(folder) if listed else _NO_MODULES))
        if not config:
            return None
        modes = pooling_modes(config)
        if len(modes) > 1 or modes[0] not in _POOLINGS:
            raise self._files.refused(
                f"pools by {', '.join(modes)}", f"{', '.join(get_args(Pooling))} are computed"
            )
        if modes == ["mean"] and not config.get("include_prompt", True):
            raise self._files.refused(
                "leaves its prompts out of the mean",
                'set embedder.kind = "sentence_transformers", which does so',
            )
        return _POOLINGS[modes[0]]

    def _fingerprint(self) -> str:
        folder, graph = self._files.folder, self._files.file
        beside = (graph.with_name(f"{graph.name}{end}") for end in ("_data", ".data"))
        files = [graph, folder / "tokenizer.json", *(f for f in beside if f.is_file())]
        parts = [
            files_digest(folder, files),
            self.pooling,
            self._max_tokens,
            *(self._prompts[kind] for kind in ("query", "passage")),
        ]
        return f"onnx:{hashlib.sha256(repr(parts).encode()).hexdigest()[:16]}"
