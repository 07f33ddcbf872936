"""One thread for BLAS; torch has its own. Two pools on the same cores wait for each other."""

from __future__ import annotations

import os


def limit_threads() -> None:
    """To be called before NumPy is loaded, which reads this once; a value already set is kept."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
