"""The GPUs that carry a load: the split of the model, the batch, and the number of engines."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from rag.operations.capacity.load import HOURS, Load
from rag.operations.capacity.model_shape import ModelShape
from rag.operations.capacity.serving import Serving
from rag.settings.capacity import CapacitySettings

MOST_STAGES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Engines of one kind that carry the load."""

    gpu: str
    serving: Serving
    batch: int
    engines: int
    rate: float
    """Questions in a second that one engine answers with this batch."""

    @property
    def gpus(self) -> int:
        """All GPUs."""
        return self.engines * self.serving.gpus

    @property
    def month(self) -> float | None:
        """The price of a month; None without a price of the GPU."""
        price = self.serving.gpu.price
        return None if price is None else price * self.gpus * HOURS


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A kind of GPU that cannot carry the load, and why."""

    gpu: str
    reason: str


def choose(
    model: ModelShape, load: Load, assumed: CapacitySettings, name: str, *, weights: str, kv: float
) -> Choice | Refusal:
    """Returns the fewest GPUs of one kind; of equals, the smallest split of the model."""
    gpu = assumed.gpus[name]
    splits = [
        Serving(model=model, gpu=gpu, assumed=assumed, weights=weights, kv_element=kv,
                tensor=tensor, pipeline=stages)
        for tensor, stages in _splits(model, gpu.together)
    ]  # fmt: skip
    fitting = [each for each in splits if each.most_requests(load.tokens) > 0]
    if not fitting:
        return Refusal(gpu=name, reason=_lack(splits[-1]))
    found = [choice for each in fitting if (choice := _carry(each, load, name))]
    if not found:
        fastest = min(_token_ms(each, load, 1) for each in fitting)
        reason = f"{fastest:,.0f} ms between tokens at best, {load.token_ms:g} are allowed"
        return Refusal(gpu=name, reason=reason)
    return min(found, key=lambda choice: (choice.gpus, choice.serving.gpus))


def _splits(model: ModelShape, together: int) -> Iterator[tuple[int, int]]:
    """Yields tensor and pipeline sizes: within a machine, then stages on several machines."""
    sizes = [n for n in (1, 2, 4, 8) if n <= together and model.heads % n == 0]
    for tensor in sizes:
        yield tensor, 1
    for stages in range(2, min(MOST_STAGES, len(model.layers)) + 1):
        yield sizes[-1], stages


def _carry(serving: Serving, load: Load, name: str) -> Choice | None:
    """Returns the engines that are needed with the largest batch that is fast enough."""
    most = serving.most_requests(load.tokens)
    if _token_ms(serving, load, 1) > load.token_ms:
        return None
    low, high = 1, most  # the time between tokens grows with the batch
    while low < high:
        middle = (low + high + 1) // 2
        if _token_ms(serving, load, middle) <= load.token_ms:
            low = middle
        else:
            high = middle - 1
    rate = serving.questions_each_second(low, tokens_in=load.tokens_in, tokens_out=load.tokens_out)
    engines = math.ceil(load.qps / (rate * serving.assumed.load))
    return Choice(gpu=name, serving=serving, batch=low, engines=engines, rate=rate)


def _token_ms(serving: Serving, load: Load, batch: int) -> float:
    seconds = serving.token_seconds(batch, tokens_in=load.tokens_in, tokens_out=load.tokens_out)
    return seconds * 1e3


def _lack(serving: Serving) -> str:
    weights = serving.weight_bytes / serving.gpus / (1 << 30)
    has = serving.gpu.memory_gib
    return (
        f"{serving.gpus} GPUs have {has:g} GiB each; the weights take {weights:,.1f} of them, and"
        " no request fits beside"
    )
