"""Reads the shape of a model from its `config.json`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rag.errors import InputError
from rag.operations.capacity.config_fields import Fields, read_fields
from rag.operations.capacity.decoders import DECODERS, LATENT, decoder_layers
from rag.operations.capacity.hybrids import HYBRIDS, hybrid_layers
from rag.operations.capacity.model_shape import ModelShape
from rag.operations.capacity.weight_formats import of_checkpoint

KNOWN = (*DECODERS, *LATENT, *HYBRIDS)
_TEXT = {"gemma3": "gemma3_text", "qwen3_5": "qwen3_5_text", "qwen3_5_moe": "qwen3_5_moe_text"}
"""Models of text and images, and what their part for text is."""
_DEFAULTS: dict[str, dict[str, Any]] = {
    "gemma3_text": {
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "vocab_size": 262_208,
        "tie_word_embeddings": True,
    },
    "gemma2": {"tie_word_embeddings": True},
    "gemma": {"tie_word_embeddings": True},
    "cohere": {"tie_word_embeddings": True},
    "cohere2": {"tie_word_embeddings": True},
}
"""Fields that published configurations leave out, with the values of their classes in
transformers 5.19."""
_DTYPES = {"float32": 4, "bfloat16": 2, "float16": 2}


def read_model(path: Path) -> ModelShape:
    """Returns the shape of the model in a folder, or of a `config.json`.

    Raises:
        InputError: The file cannot be read, its architecture is unknown, or a field is missing or
            impossible; the message names it.
    """
    fields = read_fields(path)
    folder = path if path.is_dir() else path.parent
    return shape_of(fields, name=folder.resolve().name)


def shape_of(fields: Fields, *, name: str) -> ModelShape:
    """Returns the shape that a configuration describes."""
    outer = fields
    kind = fields.get("model_type")
    if text := fields.part("text_config"):
        fields, kind = text, _TEXT.get(str(kind), text.get("model_type"))
    if kind not in KNOWN:
        raise InputError(
            f"{outer.source}: the architecture {kind!r} is unknown to the planner. It knows"
            f" {', '.join(sorted(KNOWN))}."
        )
    fields = fields.completed(_DEFAULTS.get(kind, {}))
    layers = hybrid_layers(fields, kind) if kind in HYBRIDS else decoder_layers(fields, kind)
    hidden, vocabulary = fields.size("hidden_size"), fields.size("vocab_size")
    table = vocabulary * hidden
    tied = fields.flag("tie_word_embeddings", default=outer.flag("tie_word_embeddings"))
    quantization, experts_only = of_checkpoint(outer, fields)
    return ModelShape(
        name=name,
        model_type=kind,
        hidden=hidden,
        width=fields.size("intermediate_size", "moe_intermediate_size"),
        vocabulary=vocabulary,
        layers=layers,
        embeddings=table if tied else 2 * table,
        output=table,
        other=hidden,
        heads=fields.size("num_attention_heads"),
        context=fields.size("max_position_embeddings", default=131_072),
        element_bytes=_element_bytes(outer, fields),
        state_bytes=4 if _keeps_float32(fields) else _element_bytes(outer, fields),
        quantization=quantization,
        experts_only=experts_only,
    )


def _element_bytes(outer: Fields, fields: Fields) -> int:
    names = ("torch_dtype", "dtype")
    named = fields.get(*names) or outer.get(*names) or "bfloat16"
    if named not in _DTYPES:
        raise InputError(f"{outer.source}: the type {named!r} is none of {', '.join(_DTYPES)}.")
    return _DTYPES[named]


def _keeps_float32(fields: Fields) -> bool:
    return bool(fields.get("mamba_ssm_cache_dtype", "mamba_ssm_dtype") == "float32")
