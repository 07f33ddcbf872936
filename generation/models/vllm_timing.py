"""Times the steps of vLLM engines with random weights: a configuration is all that they need."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vllm import LLM

CONTEXT = 1024
KV_BYTES = 256 << 20
TOKEN_IDS = 300
"""Token ids of the prompts: 0 to 299, which every vocabulary has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Requests that are begun at the same time, and end at the same step.

    Attributes:
        batch: their number.
        prompt: tokens of each prompt.
        tokens: tokens of each answer.
    """

    batch: int
    prompt: int
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """An engine to time.

    Attributes:
        config: the fields of its `config.json`.
        runs: what it does, in this order.
        rounds: times that everything is repeated.
    """

    config: Mapping[str, Any]
    runs: Sequence[Run]
    rounds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """The times of one engine.

    Attributes:
        seconds: the shortest of each run, in the order of the runs.
        cache_tokens: tokens for which its KV cache of `KV_BYTES` has room.
    """

    seconds: tuple[float, ...]
    cache_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """The device of the engines. `on_cpu`: it is no GPU."""

    name: str
    memory_gib: float
    on_cpu: bool


class EngineTimer:
    """Times engines, one after another, in its own process.

    `about` is the `Device`. vLLM's settings are read from the environment, so it is made in a
    process that has not imported vLLM.
    """

    def __init__(self, *, on_one_thread: bool = False) -> None:
        """Imports vLLM.

        Args:
            on_one_thread: engines compute on one core, and times are CPU times of that thread: they
                contain no time in which it waited for the core. For CPUs alone.
        """
        os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_LOGGING_LEVEL": "ERROR"}
        os.environ["VLLM_NO_USAGE_STATS"] = "1"
        self._clock: Callable[[], float] = time.perf_counter
        if on_one_thread:
            os.environ |= {"OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "0"}
            self._clock = time.thread_time
        from vllm.platforms import current_platform

        self._on_cpu = bool(current_platform.is_cpu())
        self.about = self._device(current_platform)

    def _device(self, platform: Any) -> Device:
        if self._on_cpu:
            import psutil

            name, size = "the CPU", psutil.virtual_memory().total
        else:
            name, size = platform.get_device_name(), platform.get_device_total_memory()
        return Device(name=name, memory_gib=size / (1 << 30), on_cpu=self._on_cpu)

    def __call__(self, engine: Engine) -> Timed:
        """Starts an engine, times its runs, and stops it."""
        with tempfile.TemporaryDirectory(prefix="plumbline-timing-") as name:
            folder = Path(name)
            (folder / "config.json").write_text(json.dumps(dict(engine.config)))
            llm = self._started(folder)
            taken: list[list[float]] = [[] for _ in engine.runs]
            self._seconds(llm, engine.runs[0])  # the first requests compile and allocate
            for _ in range(engine.rounds):
                for times, run in zip(taken, engine.runs, strict=True):
                    times.append(self._seconds(llm, run))
            cache = llm.llm_engine.vllm_config.cache_config
            tokens = (cache.num_gpu_blocks or 0) * cache.block_size
            del llm  # which ends it, and frees its memory
        return Timed(seconds=tuple(map(min, taken)), cache_tokens=tokens)

    def _started(self, folder: Path) -> LLM:
        from vllm import LLM

        return LLM(
            str(folder),
            load_format="dummy",
            skip_tokenizer_init=True,
            dtype="bfloat16",
            enforce_eager=self._on_cpu,  # to compile for a CPU takes minutes
            enable_prefix_caching=False,
            kv_cache_memory_bytes=KV_BYTES,
            max_model_len=CONTEXT,
        )

    def _seconds(self, llm: LLM, run: Run) -> float:
        from vllm import SamplingParams
        from vllm.inputs import tokens_input

        prompts = [
            tokens_input([(7 * number + place) % TOKEN_IDS for place in range(run.prompt)])
            for number in range(run.batch)
        ]
        params = SamplingParams(
            max_tokens=run.tokens, temperature=0, ignore_eos=True, detokenize=False
        )
        started = self._clock()
        llm.generate(prompts, params, use_tqdm=False)
        return self._clock() - started
