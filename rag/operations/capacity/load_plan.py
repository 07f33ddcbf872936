"""A plan: what a load needs, what that costs, and when to scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rag.errors import InputError
from rag.operations.capacity.gpu_choice import Choice, Refusal, choose
from rag.operations.capacity.index_size import FILL, IndexSize, chunks_of, index_size
from rag.operations.capacity.load import HOURS, Load
from rag.operations.capacity.model_shape import ModelShape
from rag.operations.capacity.scaling import Scaling, scaling_of
from rag.operations.capacity.weight_formats import FORMATS
from rag.settings.slo import SloSettings
from rag.settings.tree import Settings

GIB = 1 << 30
KV_ELEMENTS = {"auto": None, "bf16": 2.0, "fp8": 1.0}
"""Bytes of an element in the cache; auto: as the model's own elements."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The plan for a load: GPUs, index, costs."""

    load: Load
    model: ModelShape
    weights: str
    kv_element: float
    choices: tuple[Choice | Refusal, ...]
    index: IndexSize
    chunk_tokens: float
    embedding_hours: float
    index_month: float
    objectives: SloSettings

    @property
    def carrying(self) -> list[Choice]:
        """The choices that carry the load."""
        return [choice for choice in self.choices if isinstance(choice, Choice)]

    @property
    def best(self) -> Choice | None:
        """The cheapest choice; of choices without a price, the one of the fewest GPUs."""
        found = self.carrying
        priced = [choice for choice in found if choice.month is not None]
        if priced:
            return min(priced, key=lambda choice: choice.month or 0.0)
        return min(found, key=lambda choice: choice.gpus, default=None)

    @property
    def month(self) -> float | None:
        """The price of a month, GPUs and index; None without a choice or a price."""
        gpus = self.best.month if self.best else None
        return None if gpus is None else gpus + self.index_month

    @property
    def scaling(self) -> Scaling | None:
        """The thresholds for the best choice; None if there is none."""
        if self.best is None:
            return None
        seconds = self.embedding_hours * 3600 / self.load.documents
        return scaling_of(
            self.best, self.load, document_seconds=seconds, objectives=self.objectives
        )

    @property
    def kv_token(self) -> float:
        """Bytes that a token adds to the cache within all windows."""
        return self.model.kv_elements * self.kv_element

    def as_json(self) -> dict[str, Any]:
        """Returns the plan for programs; sizes in bytes, times in seconds."""
        question = None if self.month is None else self.month / self.load.questions_each_month
        return {
            "model": {
                "name": self.model.name,
                "type": self.model.model_type,
                "parameters": self.model.parameters,
                "active": self.model.active,
                "weights": self.weights,
                "kv_bytes_per_token": self.kv_token,
                "kv_bytes_per_request": self.model.kv_bytes(
                    self.load.tokens, element=self.kv_element
                ),
                "state_bytes_per_request": self.model.request_bytes(),
            },
            "gpus": [_choice(choice, self.load) for choice in self.choices],
            "best": self.best.gpu if self.best else None,
            "index": {
                "chunks": self.index.chunks,
                "memory_bytes": round(self.index.memory),
                "mapped_bytes": round(self.index.mapped),
                "disk_bytes": round(self.index.disk),
                "disk_peak_bytes": round(self.index.peak),
                "graph_seconds": self.index.graph_seconds,
                "embedding_hours": self.embedding_hours,
                "month": self.index_month,
            },
            "month": self.month,
            "question": question,
            "scaling": self.scaling and self.scaling.as_json(),
        }


def make_plan(
    model: ModelShape,
    load: Load,
    settings: Settings,
    *,
    gpus: Sequence[str],
    weights: str | None,
    kv: str,
    dim: int,
) -> Plan:
    """Returns the plan for a load; `gpus` are the kinds that are compared.

    Raises:
        InputError: A GPU is not in the table, or a request is longer than the model's context.
    """
    assumed = settings.capacity
    if unknown := [name for name in gpus if name not in assumed.gpus]:
        raise InputError(
            f"There is no GPU {unknown[0]!r} in capacity.gpus; there are"
            f" {', '.join(assumed.gpus)}. Add it to the settings."
        )
    if load.tokens > model.context:
        raise InputError(
            f"{load.tokens:,} tokens of a request do not fit the {model.context:,} of the model's"
            " context."
        )
    weights = weights or model.quantization
    element = KV_ELEMENTS[kv] or float(model.element_bytes)
    choices = tuple(
        choose(model, load, assumed, name, weights=weights, kv=element) for name in gpus
    )
    chunk_tokens = mean_chunk(load, settings)
    index = index_size(
        chunks_of(load.documents, load.document_tokens, settings.chunker),
        dim=dim,
        tokens=chunk_tokens,
        stored_tokens=getattr(settings.reranker, "stored", False),
        index=settings.index,
    )
    seconds = index.chunks * chunk_tokens / assumed.embedder_tokens
    memory = index.memory + index.mapped
    return Plan(
        load=load,
        model=model,
        weights=weights,
        kv_element=element,
        choices=choices,
        index=index,
        chunk_tokens=chunk_tokens,
        embedding_hours=seconds / 3600,
        objectives=settings.slo,
        index_month=memory / GIB * assumed.memory_price * HOURS
        + index.peak / GIB * assumed.disk_price,
    )


def mean_chunk(load: Load, settings: Settings) -> float:
    """Returns the tokens of a chunk, on average."""
    return min(settings.chunker.max_tokens * FILL, load.document_tokens)


def _choice(choice: Choice | Refusal, load: Load) -> dict[str, Any]:
    if isinstance(choice, Refusal):
        return {"gpu": choice.gpu, "fits": False, "reason": choice.reason}
    serving = choice.serving
    tokens = {"tokens_in": load.tokens_in, "tokens_out": load.tokens_out}
    return {
        "gpu": choice.gpu,
        "fits": True,
        "tensor_parallel_size": serving.tensor,
        "pipeline_parallel_size": serving.pipeline,
        "engines": choice.engines,
        "gpus": choice.gpus,
        "weight_bytes_per_gpu": round(serving.weight_bytes / serving.gpus),
        "kv_room_bytes_per_gpu": round(serving.kv_room),
        "most_requests": serving.most_requests(load.tokens),
        "batch": choice.batch,
        "ceiling_tokens_per_second": serving.ceiling(load.tokens),
        "token_seconds": serving.token_seconds(choice.batch, **tokens),
        "prompt_seconds": serving.prompt_seconds(load.tokens_in),
        "questions_per_second": choice.rate,
        "tokens_per_second": choice.rate * load.tokens_out,
        "month": choice.month,
    }


def weight_format(name: str | None) -> str | None:
    """Checks the name of a format of weights.

    Raises:
        InputError: There is no such format.
    """
    if name is not None and name not in FORMATS:
        raise InputError(f"The format of weights {name!r} is none of {', '.join(FORMATS)}.")
    return name
