"""Encodes texts with any model of sentence-transformers, in the embedder's process."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tokenizers import Tokenizer
from torch.nn import functional as F

from rag.errors import ConfigError
from rag.privacy.redaction import words
from rag.types import Float32Array, Kind
from retrieval.embedders.bert_encoder import gpu_memory
from retrieval.embedders.checkpoint import folder_digest
from retrieval.embedders.messages import Encoded, Loaded, Model, Text
from retrieval.embedders.sentence_files import KINDS, named_prompt
from retrieval.embedders.token_places import in_form, spans_in

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

# Weights for other frameworks, several times what is needed.
UNUSED = ["onnx/*", "openvino/*", "*.onnx", "*.h5", "*.msgpack", "*.ot", "*.gguf"]

_Features = dict[str, Any]
"""Features of one text: "sentence_embedding" [dim]; for each token "token_embeddings" [tokens,
token_dim], "input_ids" [tokens], and "offset_mapping" [tokens, 2], the characters of prompt and
text that it stands for."""


class SentenceEncoder:
    """A model with its tokenizer and its prompts; for one thread."""

    def __init__(
        self,
        model: str,
        *,
        device: torch.device,
        dtype: torch.dtype,
        query_prompt: str | None,
        passage_prompt: str | None,
    ) -> None:
        """Loads the model.

        Raises:
            ConfigError: The model cannot be loaded, or gives no vectors of its tokens.
        """
        try:
            folder = _folder(model)
            self._model = _open(folder, device, dtype)
            given = {"query": query_prompt, "passage": passage_prompt}
            self._prompts = {kind: self._prompt(kind, given[kind]) for kind in KINDS}
            # A model may do something else with queries than with passages.
            probes = [self._features(["probe"], kind)[0] for kind in KINDS]
        except Exception as error:  # what the library raises over a bad model is of many types
            cause = words(error)
            raise ConfigError(
                f"The embedder {model!r} cannot be loaded: {cause} Is embedder.model a folder that"
                " sentence-transformers saved, or OWNER/NAME of a model on the hub?"
            ) from error
        if not all(_tells_tokens(probe) for probe in probes):
            raise ConfigError(
                f"The embedder {model!r} has no vector for each token and its place in the text,"
                " and answers and citations are checked by these: name another model in"
                " embedder.model."
            )
        self.about = Loaded(
            Model(
                dim=len(probes[0]["sentence_embedding"]),
                token_dim=probes[0]["token_embeddings"].shape[-1],
                max_tokens=self._model.tokenizer.model_max_length,
                fingerprint=self._fingerprint(folder),
                tokenizer=self._whole(),
            ),
            device.type,
        )

    def __call__(self, items: list[Text]) -> list[Encoded]:
        """Encodes each text in the form it asks for, in input order.

        Raises:
            UpstreamError: The GPU has too little memory left.
        """
        results: dict[int, Encoded] = {}
        for kind in KINDS:
            places = [i for i, item in enumerate(items) if item.kind == kind]
            with gpu_memory():
                found = self._features([items[i].text for i in places], kind)
            for i, features in zip(places, found, strict=True):
                results[i] = self._encoded(items[i], features)
        return [results[i] for i in range(len(items))]

    def _features(self, texts: list[str], kind: Kind) -> list[_Features]:
        if not texts:
            return []
        encode = self._model.encode_query if kind == "query" else self._model.encode_document
        return encode(  # type: ignore[return-value]  # its overloads know nothing of None
            texts,
            prompt=self._prompts[kind],
            batch_size=len(texts),
            output_value=None,
            show_progress_bar=False,
            processing_kwargs={"text": {"return_offsets_mapping": True}},
        )

    def _encoded(self, item: Text, features: _Features) -> Encoded:
        dense = _units(features["sentence_embedding"])
        if item.form == "dense":
            return dense
        spans = spans_in(item.text, features["offset_mapping"].tolist(), self._prompts[item.kind])
        known = features["input_ids"].numpy(force=True) != self._model.tokenizer.unk_token_id
        return in_form(item.form, dense, _units(features["token_embeddings"]), spans, known)

    def _prompt(self, kind: Kind, given: str | None) -> str:
        return named_prompt(self._model.prompts, kind) if given is None else given

    def _fingerprint(self, folder: Path) -> str:
        parts = [folder_digest(folder), *(self._prompts[kind] for kind in KINDS)]
        return f"sentence-transformers:{hashlib.sha256(repr(parts).encode()).hexdigest()[:16]}"

    def _whole(self) -> str:
        tokenizer = Tokenizer.from_str(self._model.tokenizer.backend_tokenizer.to_str())
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return tokenizer.to_str()


def _folder(model: str) -> Path:
    """Returns the model's folder, downloaded if needed; its files determine the fingerprint."""
    if Path(model).is_dir():
        return Path(model)
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(model, ignore_patterns=UNUSED))


def _open(folder: Path, device: torch.device, dtype: torch.dtype) -> SentenceTransformer:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(
        str(folder), device=str(device), model_kwargs={"dtype": dtype}, local_files_only=True
    )


def _tells_tokens(features: _Features) -> bool:
    """True if tokens have vectors and places in the text; a chat template has its own places."""
    needed = {"token_embeddings", "offset_mapping", "input_ids"}
    return needed <= features.keys() and features.get("modality") == "text"


def _units(rows: torch.Tensor) -> Float32Array:
    return F.normalize(rows.float(), dim=-1).numpy(force=True)
