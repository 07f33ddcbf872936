"""One engine that serves a model on some GPUs: what fits into it, and how fast it is.

A step takes the time of its parts one after another, as in DistServe (Zhong et al. 2024,
https://arxiv.org/abs/2401.09670, appendix A): the matrices, attention over the caches, exchange
between GPUs, and an overhead that depends neither on bytes nor on operations. Each part is bound by
the bytes that it reads or by arithmetic (the roofline model, Williams et al. 2009,
https://doi.org/10.1145/1498765.1498785).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from rag.operations.capacity.model_shape import ModelShape
from rag.operations.capacity.weight_formats import FORMATS
from rag.settings.capacity import CapacitySettings, GpuKind

GIB = 1 << 30
MOST_REQUESTS = 256
"""Requests of one batch: vLLM's `max_num_seqs` for GPUs below 70 GiB; larger ones have 1,024."""
STEP_TOKENS = 8192
"""Tokens of one step at most: vLLM's `max_num_batched_tokens` on GPUs from 70 GiB."""
FIXED_BYTES = 1.5 * GIB
"""CUDA context, graphs and libraries. An assumption."""
ALL_REDUCE_SECONDS = 10e-6
"""Of one all-reduce of a small message within a machine, before its bytes. An assumption."""


@dataclass(frozen=True, kw_only=True)
class Serving:
    """A model in one format on `tensor` · `pipeline` GPUs of one kind."""

    model: ModelShape
    gpu: GpuKind
    assumed: CapacitySettings
    weights: str
    kv_element: float
    tensor: int = 1
    pipeline: int = 1

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

    def ceiling(self, tokens: int) -> float:
        """Returns tokens/s of a single request at the full bandwidth: bandwidth ÷ bytes read."""
        read = self.matrix_bytes(1) + self._cache_bytes(1, tokens)
        return self.gpu.bandwidth * 1e9 * self.tensor / read

    def matrix_bytes(self, tokens: float) -> float:
        """Returns the bytes of weights that a step for so many tokens reads, on all GPUs.

        All but the table of tokens, and of experts those that the tokens chose.
        """
        bytes_each = FORMATS[self.weights] if self.weights != "none" else self.model.element_bytes
        return self.model.read_bytes(bytes_each, tokens=max(1, round(tokens)))

    def step_seconds(self, batch: float, tokens: int) -> float:
        """Returns the time between two tokens of a request, in a batch of so many.

        Each of them has a cache of `tokens` tokens. With a pipeline of P stages, P parts of the
        batch are under way at the same time, and a token passes all stages.
        """
        part = batch / self.pipeline
        products, pairs = self.model.step_operations(tokens)
        matrices = self._seconds(self.matrix_bytes(part), part * products)
        matrices = max(matrices, self._single_seconds)
        attention = self._seconds(self._cache_bytes(part, tokens), part * pairs)
        return matrices + attention + self._exchange(part) + self.overhead_seconds

    def prompt_seconds(self, tokens: int) -> float:
        """Returns the time in which a prompt is read that has the engine for itself."""
        products, pairs = self.model.prompt_operations(tokens)
        matrices = self._seconds(self.matrix_bytes(tokens), products)
        attention = self._seconds(0.0, pairs)
        return matrices + attention + self._exchange(tokens) + self.overhead_seconds

    @cached_property
    def _single_seconds(self) -> float:
        """The time of the matrices in a step of one request, where that is slower than a batch.

        A CPU may multiply one row by another kernel than several, which reads memory more slowly.
        """
        if self.gpu.single_bandwidth is None:
            return 0.0
        return self.matrix_bytes(1) / (self.gpu.single_bandwidth * 1e9 * self.tensor)

    @property
    def overhead_seconds(self) -> float:
        """The time of a step that neither bytes nor operations explain: scheduling and launches."""
        return (self.gpu.step_ms + self.gpu.layer_ms * len(self.model.layers)) / 1e3

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

    def _cache_bytes(self, batch: float, tokens: int) -> float:
        """Returns the bytes of the caches that a step of a batch reads, on all GPUs."""
        return batch * self.request_bytes(tokens) * self.gpus

    def _seconds(self, read: float, operations: float) -> float:
        """Returns the time of a part of a step that reads so many bytes.

        A GPU reads while it computes; a CPU, whose kind says so, reads and then computes.
        """
        share = self.gpu.bandwidth_share or self.assumed.bandwidth_share
        memory = read / (self.gpu.bandwidth * 1e9 * share * self.tensor)
        arithmetic = operations / self._operations_each_second()
        return max(memory, arithmetic) if self.gpu.overlaps else memory + arithmetic

    def _operations_each_second(self) -> float:
        in_fp8 = self.weights in ("fp8", "nvfp4") and self.gpu.fp8_tflops is not None
        rate = self.gpu.fp8_tflops if in_fp8 and self.gpu.fp8_tflops else self.gpu.tflops
        share = self.gpu.flops_share or self.assumed.flops_share
        return rate * 1e12 * share * self.tensor

    def _exchange(self, tokens: float) -> float:
        """Returns the time of two all-reduces for each layer: ring, 2 (n-1)/n of the bytes."""
        if self.tensor == 1:
            return 0.0
        size = tokens * self.model.hidden * self.model.element_bytes
        sent = 2 * (self.tensor - 1) / self.tensor * size / (self.gpu.link * 1e9)
        return 2 * len(self.model.layers) * (ALL_REDUCE_SECONDS + sent)
