"""Distributes files of tests to processes."""

from __future__ import annotations

from xdist.scheduler import LoadFileScheduling

TOGETHER = {
    "vLLM": (
        "tests/e2e/test_e2e_smollm2.py",
        "tests/generation/models/test_vllm.py",
        "tests/generation/replicas/test_vllm_replicas.py",
        "tests/rag/build/test_side_by_side.py",
        "tests/rag/cli/test_model_compare.py",
        "tests/rag/operations/test_model_shapes.py",
    ),
    "torch": (
        "tests/generation/grounding/test_support.py",
        "tests/integrations/test_haystack.py",
        "tests/rag/cli/test_model_registry.py",
        "tests/rag/cli/test_models.py",
        "tests/rag/rollouts/test_embedding_versions.py",
        "tests/repository/test_benchmarks.py",
        "tests/retrieval/embedders/test_bert.py",
        "tests/retrieval/embedders/test_onnx_embedder.py",
        "tests/retrieval/embedders/test_sentence_embedder.py",
        "tests/retrieval/rerankers/test_reranker_contract.py",
        "tests/retrieval/rerankers/test_rerankers.py",
    ),
}
"""Files by what they import, which takes seconds."""
GROUPS = {file: group for group, files in TOGETHER.items() for file in files}


class SharedImports(LoadFileScheduling):  # type: ignore[misc]
    """Each file is run by one process; those of a group by the same, which imports it once."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return GROUPS.get(file, file)
