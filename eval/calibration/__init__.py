"""Fits confidences. Threads are set as the product sets them, before NumPy loads."""

from rag.process.blas import limit_threads

limit_threads()
