"""Distributes files of tests to processes."""

from __future__ import annotations

from xdist.scheduler import LoadFileScheduling

VLLM = frozenset(
    (
        "tests/e2e/test_e2e_smollm2.py",
        "tests/generation/models/test_vllm.py",
        "tests/generation/replicas/test_vllm_replicas.py",
        "tests/rag/cli/test_model_compare.py",
        "tests/rag/operations/test_model_shapes.py",
    )
)


class SharedImports(LoadFileScheduling):  # type: ignore[misc]
    """Each file is run by one process; those that need vLLM by the same, which imports it once."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return "vLLM" if file in VLLM else file
