"""The window of each layer: which layers of a model see all tokens, which only the last ones."""

from __future__ import annotations

from rag.errors import InputError
from rag.operations.capacity.config_fields import MOST_LAYERS, Fields

_EVERY = {"gemma2": 2, "gemma3_text": 6, "gpt_oss": 2, "cohere2": 4, "olmo3": 4}
"""Every how many layers one sees all tokens, where the configuration does not list them."""


def windows(fields: Fields, model_type: str) -> list[int | None]:
    """Returns the window of each layer in tokens; None for one that sees all.

    Raises:
        InputError: The list of layers' kinds has another length, or a kind that is not known.
    """
    layers = fields.size("num_hidden_layers", "n_layer", at_most=MOST_LAYERS)
    if not _slides(fields, model_type):
        return [None] * layers
    window = fields.size("sliding_window")
    kinds = fields.names("layer_types")
    if kinds is not None:
        _check(fields, kinds, layers)
        return [window if kind == "sliding_attention" else None for kind in kinds]
    every = fields.size(
        "sliding_window_pattern", "_sliding_window_pattern", default=_EVERY.get(model_type, LAST)
    )
    first = fields.count("max_window_layers") if model_type.startswith("qwen") else 0
    return [None if i < first or (i + 1) % every == 0 else window for i in range(layers)]


LAST = MOST_LAYERS + 1
"""A pattern longer than any model: all its layers slide, as Mistral 7B v0.1's do."""


def _slides(fields: Fields, model_type: str) -> bool:
    if fields.get("sliding_window") in (None, 0):
        return False
    # Qwen's configurations name a window that is not in use.
    return not model_type.startswith("qwen") or fields.flag("use_sliding_window")


def _check(fields: Fields, kinds: list[str], layers: int) -> None:
    if len(kinds) != layers:
        raise InputError(
            f"{fields.source}: layer_types lists {len(kinds)} layers, num_hidden_layers says"
            f" {layers}."
        )
    if unknown := set(kinds) - {"full_attention", "sliding_attention", "linear_attention"}:
        raise InputError(
            f"{fields.source}: layers of the kind {sorted(unknown)[0]!r} are not known."
        )
