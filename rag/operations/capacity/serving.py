"""One engine that serves a model on some GPUs: what fits into it, and how fast it is.

Decoding is bound by the bytes that each step reads, reading prompts by arithmetic: Pope et al.
2022, https://arxiv.org/abs/2211.05102.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from rag.operations.capacity.model_shape import ModelShape
from rag.operations.capacity.weight_formats import FORMATS
from rag.settings.capacity import CapacitySettings, GpuSettings

GIB = 1 << 30
MOST_REQUESTS = 256
"""Requests of one batch: vLLM's `max_num_seqs` for GPUs below 70 GiB; larger ones have 1,024."""
STEP_TOKENS = 8192
"""Tokens of one step at most: vLLM's `max_num_batched_tokens` on GPUs from 70 GiB."""
FIXED_BYTES = 1.5 * GIB
"""CUDA context, graphs and libraries. An assumption."""
ALL_REDUCE_SECONDS = 10e-6
"""Of one all-reduce of a small message within a machine, before its bytes. An assumption."""
STEP_SECONDS = 0.5e-3
"""Of a step, for scheduling and launches, which no formula of bytes contains. An assumption."""


@dataclass(frozen=True, kw_only=True)
class Serving:
    """A model in one format on `tensor` · `pipeline` GPUs of one kind."""

    model: ModelShape
    gpu: GpuSettings
    assumed: CapacitySettings
    weights: str
    kv_element: float
    tensor: int = 1
    pipeline: int = 1
    step_seconds_fixed: float = STEP_SECONDS

    @property
    def gpus(self) -> int:
        """The number of GPUs."""
        return self.tensor * self.pipeline

    @cached_property
    def weight_bytes(self) -> float:
        """The size of the weights, on all GPUs together."""
        if self.weights == "none":
            return self.model.weight_bytes(self.model.element_bytes)
        return self.model.weight_bytes(FORMATS[self.weights])

    @cached_property
    def activation_bytes(self) -> float:
        """The peak of one step on one GPU, at most.

        STEP_TOKENS rows of the hidden size (four: residual, normed, attention, output) and of the
        widest feed-forward part (two), and float32 logits of a batch.
        """
        model = self.model
        rows = STEP_TOKENS * (4 * model.hidden + 2 * model.width / self.tensor)
        logits = MOST_REQUESTS * model.vocabulary * 4
        return rows * model.element_bytes + logits

    @cached_property
    def kv_room(self) -> float:
        """Bytes of one GPU that are left for the caches of requests; negative: it does not fit."""
        given = self.gpu.memory_gib * GIB * self.assumed.memory_share
        return given - self.weight_bytes / self.gpus - self.activation_bytes - FIXED_BYTES

    def request_bytes(self, tokens: int) -> float:
        """Returns what a request with so many tokens takes on one GPU."""
        kv = self.model.kv_bytes(tokens, element=self.kv_element, gpus=self.tensor)
        return (kv + self.model.request_bytes(gpus=self.tensor)) / self.pipeline

    def most_requests(self, tokens: int) -> int:
        """Returns the requests with so many tokens that fit at the same time."""
        if self.kv_room <= 0:
            return 0
        each = self.request_bytes(tokens)
        return MOST_REQUESTS if each == 0 else min(MOST_REQUESTS, int(self.kv_room // each))

    def step_bytes(self, batch: float, tokens: int) -> float:
        """Returns the bytes that one step of a batch reads, on all GPUs of a stage together.

        The weights once, the experts that the batch chose, and each request's cache or state.
        """
        bytes_each = FORMATS[self.weights] if self.weights != "none" else self.model.element_bytes
        weights = self.model.read_bytes(bytes_each, tokens=max(1, round(batch)))
        return weights + batch * self.request_bytes(tokens) * self.tensor * self.pipeline

    def step_seconds(self, batch: float, tokens: int) -> float:
        """Returns the time between two tokens of a request, in a batch of so many.

        With a pipeline of P stages, P parts of the batch are under way at the same time, and a
        token passes all stages.
        """
        part = batch / self.pipeline
        bandwidth = self.gpu.bandwidth * 1e9 * self.assumed.bandwidth_share * self.tensor
        memory = self.step_bytes(part, tokens) / bandwidth
        arithmetic = part * self._flops(1, tokens) / self._flops_each_second()
        return max(memory, arithmetic) + self._exchange(part) + self.step_seconds_fixed

    def ceiling(self, tokens: int) -> float:
        """Returns tokens/s of a single request at the full bandwidth: bandwidth ÷ bytes read."""
        return self.gpu.bandwidth * 1e9 * self.tensor / self.step_bytes(1, tokens)

    def prompt_seconds(self, tokens: int) -> float:
        """Returns the time in which a prompt is read that has the engine for itself."""
        exchange = self._exchange(tokens) - self._exchange(0) if self.tensor > 1 else 0.0
        return self._flops(tokens, tokens / 2) / self._flops_each_second() + exchange

    def questions_each_second(self, batch: float, *, tokens_in: int, tokens_out: int) -> float:
        """Returns the throughput of a batch of so many requests, which is refilled as they end.

        A request takes the engine for its prompt ÷ stages, and for its share of each step.
        """
        step = self.step_seconds(batch, tokens_in + tokens_out // 2)
        prompt = self.prompt_seconds(tokens_in) / self.pipeline
        return 1 / (prompt + tokens_out * step / batch)

    def token_seconds(self, batch: float, *, tokens_in: int, tokens_out: int) -> float:
        """Returns the time between tokens when the others' prompts are read between the steps.

        Little's law: batch = throughput · time of a request.
        """
        rate = self.questions_each_second(batch, tokens_in=tokens_in, tokens_out=tokens_out)
        return (batch / rate - self.prompt_seconds(tokens_in)) / tokens_out

    def _flops(self, tokens: float, context: float) -> float:
        """Returns the operations for `tokens` tokens that each attend to `context`: 2 for each.

        Kaplan et al. 2020, https://arxiv.org/abs/2001.08361, section 2.1.
        """
        pairs = sum(
            block.pair * (context if block.window is None else min(context, block.window))
            for block in self.model.blocks
        )
        return 2 * tokens * (self.model.active + pairs)

    def _flops_each_second(self) -> float:
        in_fp8 = self.weights in ("fp8", "nvfp4") and self.gpu.fp8_tflops is not None
        rate = self.gpu.fp8_tflops if in_fp8 and self.gpu.fp8_tflops else self.gpu.tflops
        return rate * 1e12 * self.assumed.flops_share * self.tensor

    def _exchange(self, tokens: float) -> float:
        """Returns the time of two all-reduces for each layer: ring, 2 (n-1)/n of the bytes."""
        if self.tensor == 1:
            return 0.0
        size = tokens * self.model.hidden * self.model.element_bytes
        sent = 2 * (self.tensor - 1) / self.tensor * size / (self.gpu.link * 1e9)
        return 2 * len(self.model.layers) * (ALL_REDUCE_SECONDS + sent)
