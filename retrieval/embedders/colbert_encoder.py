"""Encodes texts by a ColBERT model in ONNX Runtime: a vector for each token, none for the text.

Khattab & Zaharia 2020, https://arxiv.org/abs/2004.12832: a marker says if a text is a question or a
passage; a question is filled up with [MASK] tokens, which stand for words that it might have had.
"""

from __future__ import annotations

import string
from typing import TYPE_CHECKING, Any

import numpy as np

from rag.inference.onnx_folder import OnnxFolder
from rag.privacy.redaction import words
from rag.types import Float32Array, Kind, TokenVectors
from retrieval.embedders.checkpoint import files_digest
from retrieval.embedders.messages import Encoded, Loaded, Model, Text
from retrieval.embedders.onnx_encoder import unit
from retrieval.embedders.sentence_files import PROMPTS

if TYPE_CHECKING:
    from tokenizers import Tokenizer

STANFORD = "artifact.metadata"
"""The configuration that ColBERT saves; PyLate saves `config_sentence_transformers.json`."""
_AXES = 3
_MARKER = 1
"""Tokens that are added to those of the tokenizer."""


class ColbertEncoder:
    """A tokenizer, a graph and their rules; may be called on several threads at once."""

    def __init__(self, model: str, *, file: str | None) -> None:
        """Loads the model.

        Args:
            model: a folder, or a name on the hub.
            file: the graph's path in it; None: `model.onnx` or `onnx/model.onnx`.

        Raises:
            ConfigError: The model cannot be loaded, or does not say how it reads texts.
        """
        files = OnnxFolder(model, file=file, owner="reranker")
        whole = files.tokenizer(window=None)
        self._rules = _Rules(files, whole)
        self._tokenizers: dict[Kind, Tokenizer] = {
            kind: files.tokenizer(window=length - _MARKER)
            for kind, length in self._rules.lengths.items()
        }
        self._graph = files.graph(axes=_AXES)
        dim = self._dim(files)
        self.about = Loaded(
            Model(
                dim=dim,
                token_dim=dim,
                max_tokens=self._rules.lengths["passage"],
                fingerprint=f"colbert:{files_digest(files.folder, [files.file])[:16]}",
                tokenizer=whole.to_str(),
            ),
            "cpu",
        )

    def __call__(self, items: list[Text]) -> list[Encoded]:
        """Encodes each text token by token, in input order; `form` is "tokens"."""
        return [self._encode(item.text, item.kind) for item in items]

    def _encode(self, text: str, kind: Kind) -> TokenVectors:
        rules = self._rules
        encoding = self._tokenizers[kind].encode(text)
        ids = [encoding.ids[0], rules.markers[kind], *encoding.ids[1:]]
        spans = np.array([(0, 0), (0, 0), *encoding.offsets[1:]], np.int32)
        if kind == "passage":
            kept = ~np.isin(ids, rules.left_out)
            return TokenVectors(vectors=unit(self._graph(ids)[kept]), spans=spans[kept])
        masks = rules.lengths["query"] - len(ids)
        seen = [1] * len(ids) + [int(rules.masks_are_seen)] * masks
        vectors = self._graph(ids + [rules.mask] * masks, seen=seen)
        return TokenVectors(vectors=unit(vectors), spans=np.pad(spans, ((0, masks), (0, 0))))

    def _dim(self, files: OnnxFolder) -> int:
        try:
            found: Float32Array = self._encode("a passage", "passage").vectors
        except Exception as error:  # errors of ONNX Runtime are of many types
            raise files.refused(
                f"cannot be run: {words(error)}", "export it with axes of any length"
            ) from error
        dim = int(found.shape[1])
        if self._rules.dim not in (None, dim):
            raise files.refused(
                f"returns {dim} numbers for a token, and {STANFORD} says {self._rules.dim}",
                "export the model with its last layer, which makes vectors shorter",
            )
        return dim


class _Rules:
    """The rules by which a model reads questions and passages."""

    def __init__(self, files: OnnxFolder, tokenizer: Tokenizer) -> None:
        """Reads the configuration.

        Raises:
            ConfigError: It is missing or damaged, or names tokens that the tokenizer lacks.
        """
        stanford, pylate = files.json(STANFORD), files.json(PROMPTS)
        if not stanford and "query_length" not in pylate:
            raise files.refused(
                "does not say how ColBERT reads questions and passages",
                f"add its {STANFORD}, or the {PROMPTS} of PyLate",
            )
        read = _stanford(stanford) if stanford else _pylate(pylate)
        try:
            self.lengths: dict[Kind, int] = {
                "query": int(read["lengths"][0]),
                "passage": min(int(read["lengths"][1]), files.window()),
            }
            self.masks_are_seen = bool(read["masks_are_seen"])
            self.dim: int | None = read["dim"]
            query, passage = (self._id(tokenizer, name) for name in read["markers"])
            self.markers: dict[Kind, int] = {"query": query, "passage": passage}
            self.mask = self._id(tokenizer, "[MASK]", "<mask>")
        except (KeyError, TypeError, ValueError) as error:
            raise files.refused(
                f"cannot be read: the rules of ColBERT: {words(error)}",
                f"compare its {STANFORD} or {PROMPTS} with its tokenizer.json",
            ) from error
        left_out = (tokenizer.token_to_id(word) for word in read["left_out"])
        self.left_out = [id_ for id_ in left_out if id_ is not None]

    @staticmethod
    def _id(tokenizer: Tokenizer, *names: str) -> int:
        """Returns the id of the first token that there is; PyLate's markers may end in a space."""
        for name in (*names, *(n.strip() for n in names)):
            if (found := tokenizer.token_to_id(name)) is not None:
                return found
        raise ValueError(f"the tokenizer has no {' or '.join(names)}")


def _stanford(config: dict[str, Any]) -> dict[str, Any]:
    return {
        "markers": (config["query_token_id"], config["doc_token_id"]),
        "lengths": (config["query_maxlen"], config["doc_maxlen"]),
        "masks_are_seen": config.get("attend_to_mask_tokens", False),
        "left_out": string.punctuation if config.get("mask_punctuation", True) else "",
        "dim": config.get("dim"),
    }


def _pylate(config: dict[str, Any]) -> dict[str, Any]:
    return {
        "markers": (config["query_prefix"], config["document_prefix"]),
        "lengths": (config["query_length"], config["document_length"]),
        "masks_are_seen": config.get("attend_to_expansion_tokens", False),
        "left_out": config.get("skiplist_words", string.punctuation),
        "dim": None,
    }
