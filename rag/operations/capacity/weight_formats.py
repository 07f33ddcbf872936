"""The formats of quantized weights: bytes for each parameter, and how checkpoints name them."""

from __future__ import annotations

from typing import Any

from rag.errors import InputError
from rag.operations.capacity.config_fields import Fields

FORMATS = {
    "none": 2.0,
    "fp8": 1.0,
    "int8": 1.0,
    "int4": 0.5 + (16 + 4) / 8 / 128,
    "nvfp4": 0.5 + 1 / 16,
    "mxfp4": 0.5 + 1 / 32,
}
"""Bytes of a parameter in a quantized matrix. int4 is AWQ's and GPTQ's, with a scale of 16 bits and
a zero of 4 for each 128; nvfp4 has a scale of 8 bits for each 16, mxfp4 for each 32 (OCP
Microscaling Formats 1.0)."""


def of_checkpoint(outer: Fields, fields: Fields) -> tuple[str, bool]:
    """Returns the format of a checkpoint's matrices, and True if only experts have it.

    Raises:
        InputError: The configuration names a method that is not known.
    """
    config = outer.get("quantization_config") or fields.get("quantization_config")
    if config is None:
        return "none", False
    method = config.get("quant_method") if isinstance(config, dict) else config
    found = _format(method, config if isinstance(config, dict) else {})
    if found is None:
        raise InputError(
            f"{outer.source}: the quantization {method!r} is unknown. Name the format of the"
            f" weights: {', '.join(FORMATS)}."
        )
    return found, found == "mxfp4"


def _format(method: Any, config: dict[str, Any]) -> str | None:
    match method:
        case "fp8" | "fbgemm_fp8":
            return "fp8"
        case "awq" | "gptq":
            return {4: "int4", 8: "int8"}.get(config.get("bits", 4))
        case "mxfp4":
            return "mxfp4"
        case "modelopt":
            named = str(config.get("quant_algo", "")).lower()
            return named if named in ("fp8", "nvfp4") else None
        case "compressed-tensors":
            return _compressed(config)
        case _:
            return None


def _compressed(config: dict[str, Any]) -> str | None:
    """Returns the format of compressed-tensors' first group of weights."""
    groups = config.get("config_groups")
    first: Any = next(iter(groups.values()), None) if isinstance(groups, dict) else None
    weights = first.get("weights") if isinstance(first, dict) else None
    if not isinstance(weights, dict):
        return None
    formats = {"float 8": "fp8", "int 8": "int8", "int 4": "int4", "float 4": "nvfp4"}
    return formats.get(f"{weights.get('type')} {weights.get('num_bits')}")
