"""Opens models in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_ERRORS_ONLY = 3


def open_session(
    model: bytes | Path, shared: Mapping[str, npt.NDArray[Any]] | None = None
) -> InferenceSession:
    """Returns a session on the CPU, of which each call runs on the thread that makes it.

    Several calls at once keep as many cores busy, without a pool of threads that spin as they wait.

    Args:
        model: a serialised graph, or its file.
        shared: constants that are not in the model; the session does not copy them.

    Raises:
        Exception: ONNX Runtime cannot open the model; its errors are of many types.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    if shared:
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(value) for value in shared.values()]
        options.add_external_initializers(list(shared), values)
    return onnxruntime.InferenceSession(
        model if isinstance(model, bytes) else str(model),
        options,
        providers=["CPUExecutionProvider"],
    )
