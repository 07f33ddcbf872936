"""Limits BLAS to one thread: its pool and torch's on the same cores would wait for each other."""

from __future__ import annotations

import os


def limit_threads() -> None:
    """Sets the limits, unless they are set. NumPy reads them once: call it before the import."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
