"""Opens models in ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_ERRORS_ONLY = 3


def open_session(model: bytes | Path) -> InferenceSession:
    """Returns a session on the CPU, of which each call runs on the thread that makes it.

    Several calls at once keep as many cores busy, without a pool of threads that spin as they wait.

    Args:
        model: a serialised graph, or its file.

    Raises:
        Exception: ONNX Runtime cannot open the model; its errors are of many types.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    return onnxruntime.InferenceSession(
        model if isinstance(model, bytes) else str(model),
        options,
        providers=["CPUExecutionProvider"],
    )
