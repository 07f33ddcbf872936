"""Runs a graph of ONNX Runtime on the tokens of one text or pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from rag.errors import ConfigError
from rag.types import Float32Array

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_INPUTS = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
_INTEGERS = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
_FLOATS = ("tensor(float)", "tensor(float16)")


class OnnxGraph:
    """A session with the inputs of an encoder; may be called on several threads at once.

    A text is encoded by itself: its result does not depend on others, and no time is spent on
    padding.
    """

    def __init__(self, session: InferenceSession, *, axes: int, name: str) -> None:
        """Finds the inputs and the output.

        Args:
            session: the opened graph.
            axes: axes of the output that is read, the first of that many: 3 for a vector for each
                token [1, tokens, dim], 2 for the numbers of a text or pair [1, n].
            name: the graph's, for messages.

        Raises:
            ConfigError: The graph has other inputs, or no such output.
        """
        others = [
            f"{i.name} {i.type}"
            for i in session.get_inputs()
            if i.name not in _INPUTS or i.type not in _INTEGERS
        ]
        if others:
            raise ConfigError(
                f"{name} asks for {', '.join(others)}, and an encoder is given integers for"
                f" {', '.join(_INPUTS)} alone: name a model that reads texts."
            )
        outputs = [o for o in session.get_outputs() if o.type in _FLOATS and len(o.shape) == axes]
        if not outputs:
            found = ", ".join(f"{o.name} {o.shape}" for o in session.get_outputs())
            raise ConfigError(
                f"{name} returns {found}, and no floats with {axes} axes: export the model"
                f" {'without its pooling' if axes > 2 else 'as a classifier'}."  # noqa: PLR2004
            )
        self._session = session
        self._inputs = {i.name: _INTEGERS[i.type] for i in session.get_inputs()}
        self._output: str = outputs[0].name

    def __call__(
        self,
        ids: Sequence[int],
        *,
        kinds: Sequence[int] | None = None,
        seen: Sequence[int] | None = None,
    ) -> Float32Array:
        """Returns the output for one text: float32[tokens, dim], or float32[n].

        Args:
            ids: the tokens.
            kinds: the type of each token; None: 0.
            seen: 1 for tokens that others attend to, else 0; None: they attend to all.
        """
        count = len(ids)
        values: dict[str, Sequence[int]] = {
            "input_ids": ids,
            "attention_mask": seen or [1] * count,
            "token_type_ids": kinds or [0] * count,
            "position_ids": range(count),
        }
        given = {name: np.array([values[name]], kind) for name, kind in self._inputs.items()}
        (output,) = self._session.run([self._output], given)
        result: Float32Array = output[0].astype(np.float32, copy=False)
        return result
