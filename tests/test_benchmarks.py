"""Benchmarks that need a GPU, tried out without one, and what others are made of."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator

import pytest
import torch

from benchmarks._writing import Part, Turn, follow_turn

GPU = (sys.executable, "-m", "benchmarks.gpu")


def test_the_benchmark_of_a_gpu_measures_on_whatever_device_it_is_told() -> None:
    done = subprocess.run(
        [*GPU, "embedder", "reranker", "--device", "cpu"],
        capture_output=True,
        text=True,
        check=True,
    )
    told = {line.partition("  ")[0]: line for line in done.stdout.splitlines()}
    assert "tokens/s" in told["tiny: embedded"]
    assert "tokens/s" in told["tiny: embedded token by token"]
    assert "pairs/s" in told["tiny: judged"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_cuda_device_it_says_so() -> None:
    done = subprocess.run(GPU, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("There is no CUDA device: torch ")


@pytest.mark.anyio
async def test_a_turn_is_followed_at_its_moments() -> None:
    """Each begins where one of the other turn had but its writing left."""
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
