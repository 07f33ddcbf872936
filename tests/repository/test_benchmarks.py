"""Benchmarks that need a GPU, run without one, and parts of other benchmarks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from benchmarks._qdrant_servers import replaying
from benchmarks._writing import Part, Turn, follow_turn
from rag.errors import UpstreamError
from rag.types import Scope
from retrieval.indexes.qdrant import QdrantIndex
from retrieval.indexes.qdrant_server import connect
from tests.fakes import HashEmbedder, dense_leg, make_chunk, make_points, sparse_leg
from tests.fork_server import run_forked
from tests.forked import run_module
from tests.qdrant_grpc import grpc_port
from tests.qdrant_servers import NO_INDEXES


def test_the_benchmark_of_a_gpu_measures_on_whatever_device_it_is_told() -> None:
    options = ("embedder", "reranker", "--device", "cpu")
    done = run_forked("model", run_module, "benchmarks.gpu", *options)
    assert done.returncode == 0, done.stderr
    lines = {line.partition("  ")[0]: line for line in done.stdout.splitlines()}
    assert "tokens/s" in lines["tiny: embedded"]
    assert "tokens/s" in lines["tiny: embedded token by token"]
    assert "pairs/s" in lines["tiny: judged"]


def test_without_a_cuda_device_it_says_so() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    command = [sys.executable, "-m", "benchmarks.gpu"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("There is no CUDA device: torch ")


@pytest.mark.anyio
async def test_a_turn_is_followed_at_its_moments() -> None:
    """Each request begins when one of the recorded turn had only its writing left."""
    turn = Turn(2, begun=[0.0, 0.1], elsewhere=[0.05, 0.1])
    asked: list[str] = []

    async def write(prompt: str) -> AsyncIterator[Part]:
        asked.append(prompt)
        yield Part(3, elsewhere=0.01)

    followed = await follow_turn(write, ["first", "second"], turn=turn)
    assert asked == ["first", "second"]
    assert followed.begun[0] >= 0.05
    assert followed.begun[1] >= 0.2
    assert followed.tokens == 6
    assert followed.net_begun == pytest.approx([begun + 0.01 for begun in followed.begun])


def index_at(port: int | str) -> QdrantIndex:
    url = f"http://127.0.0.1:{port}"
    server = connect(url, api_key=None, grpc_port=int(port), prefer_grpc=True, timeout=30)
    return QdrantIndex(server, dim=HashEmbedder().dim)


@NO_INDEXES
@pytest.mark.anyio
@pytest.mark.usefixtures("one_loop")
async def test_answers_of_a_qdrant_server_are_replayed_once_it_is_gone(scope: Scope) -> None:
    chunks = [make_chunk(text, position=i) for i, text in enumerate(("cat", "cat dog", "fish"))]
    ids = [chunk.id for chunk in chunks]
    asked = [[dense_leg(text), sparse_leg(text)] for text in ("cat", "dog fish")]
    async with AsyncExitStack() as stack:
        behind = await stack.enter_async_context(grpc_port())
        direct = index_at(behind)
        await direct.upsert(scope, make_points(chunks))
        async with replaying(str(behind)) as (port, replay):
            index = index_at(port)
            found = [await index.search(scope, legs) for legs in asked]
            assert found == [await direct.search(scope, legs) for legs in asked]
            assert await index.fetch(scope, ids) == chunks
            replay.replay()
            await direct.close()
            await stack.aclose()
            new = [dense_leg("new"), sparse_leg("newer")]
            assert [await index.search(scope, new) for _ in asked] == found
            assert await index.fetch(scope, ids) == chunks
            with pytest.raises(UpstreamError) as caught:
                await index.fetch(scope, ids[:1])
            assert "Connection refused" in caught.value.detail  # it was passed on
            await index.close()
