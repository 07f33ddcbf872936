"""The contract of `ChatModel`; `test_vllm` runs it on an engine."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest

from generation.models.budget import BudgetedModel
from generation.models.counted_model import CountedModel
from generation.models.openai import OpenAIModel
from generation.models.pricing import PricedModel, Prices
from rag.protocols import ChatModel
from tests.chat_models import check_chat_model
from tests.fakes import ScriptedModel
from tests.model_server import PATIENCE, model_server, says
from tests.replicas import replicated

pytestmark = pytest.mark.anyio

ANSWER = "It is what was asked, and no more than that."


def scripted() -> ScriptedModel:
    return ScriptedModel(*[ANSWER] * 3)


@contextlib.asynccontextmanager
async def opened(kind: str) -> AsyncIterator[ChatModel]:
    match kind:
        case "scripted":
            yield scripted()
        case "counted":
            yield CountedModel(scripted())
        case "priced":
            yield PricedModel(scripted(), Prices(input=1.0, output=2.0))
        case "budgeted":
            yield BudgetedModel(scripted(), tokens=1_000)
        case "replicated":
            with model_server(says(*ANSWER.split())) as one, model_server(one.script) as other:
                async with replicated([one.base_url, other.base_url]) as (model, _):
                    yield model
        case _:
            with model_server(says(*ANSWER.split())) as server:
                openai = OpenAIModel(
                    base_url=server.base_url,
                    api_key="key",
                    model="tiny",
                    context_tokens=1_000,
                    seconds=PATIENCE,
                )
                yield openai
                await openai.close()


@pytest.mark.parametrize(
    "kind", ["scripted", "counted", "priced", "budgeted", "openai", "replicated"]
)
async def test_a_model_writes_an_answer_in_pieces_whose_last_says_why_it_ended(kind: str) -> None:
    async with opened(kind) as model:
        await check_chat_model(model)
