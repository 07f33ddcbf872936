"""Tells if this CPU multiplies bytes without loss."""

from __future__ import annotations

import numpy as np

from rag.inference.onnx_session import open_session
from rag.inference.onnx_writer import GraphWriter

_LENGTH = 64


def is_exact() -> bool:
    """Returns True if ONNX Runtime's sums of products of bytes are exact on this CPU.

    On x86 CPUs without VNNI the sum of two products saturates at 16 bits, so that large numbers
    are lost: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
    """
    writer = GraphWriter("int8")
    row = writer.constant("row", np.full((1, _LENGTH), 1.0, np.float32))
    weight = np.full((_LENGTH, _LENGTH), 1.0, np.float32)
    bias = np.zeros(_LENGTH, np.float32)
    product = writer.linear(writer.rounded(row, by_row=False), "ones", weight, bias)
    session = open_session(writer.serialised({}, {product: (1, _LENGTH)}))
    (result,) = session.run(None, {})
    return bool(np.allclose(result, _LENGTH, rtol=1e-3))
