"""Benchmarks that need a GPU, tried out without one."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

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
