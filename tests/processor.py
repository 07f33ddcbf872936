"""Features of this processor on which tests depend."""

from __future__ import annotations

from pathlib import Path

import pytest

from rag.inference.int8 import is_exact

exact_int8 = pytest.mark.skipif(
    not is_exact(), reason="this processor multiplies bytes with losses: int8 is refused"
)


def float_type() -> str:
    """Returns the type in which vLLM computes fastest.

    Without instructions for bfloat16, that takes three times as long as float32.
    """
    flags = Path("/proc/cpuinfo").read_text()
    return "bfloat16" if "avx512_bf16" in flags or "amx_bf16" in flags else "float32"
