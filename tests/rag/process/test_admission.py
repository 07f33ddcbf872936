from __future__ import annotations

from contextlib import aclosing

import pytest

from generation.models.budget import BudgetedModel
from rag.errors import BusyError
from rag.process.admission import Admission
from rag.types import Message, Sampling
from tests.fakes import ScriptedModel

CHAT = [Message(role="user", content="one two three")]


def test_what_is_over_the_bound_is_refused_and_given_back_in_the_end() -> None:
    admission = Admission(2, refusal="Too many (limits.x).")
    with admission.take():
        with admission.take(), pytest.raises(BusyError, match=r"limits\.x"), admission.take():
            pass
        with admission.take():
            pass
        with pytest.raises(ValueError, match="x"), admission.take():
            raise ValueError("x")
        with admission.take():
            pass


def test_what_is_larger_than_all_of_it_has_it_to_itself() -> None:
    admission = Admission(2, refusal="Busy.")
    with admission.take(9), pytest.raises(BusyError), admission.take(1):
        pass
    with admission.take(1), pytest.raises(BusyError), admission.take(9):
        pass


@pytest.mark.anyio
async def test_a_model_has_so_many_tokens_under_way() -> None:
    inner = ScriptedModel("a b c", "a b c", "a b c")
    prompt = await inner.count_tokens(CHAT)
    model = BudgetedModel(inner, tokens=2 * (prompt + 10))
    assert (model.name, model.context_tokens) == (inner.name, inner.context_tokens)
    sampling = Sampling(max_tokens=10)
    async with aclosing(model.stream(CHAT, sampling=sampling)) as first:
        await anext(first)
        async with aclosing(model.stream(CHAT, sampling=sampling)) as second:
            await anext(second)
            with pytest.raises(BusyError, match=r"generator\.tokens_at_once"):
                await anext(model.stream(CHAT, sampling=sampling))
            assert len(inner.sent) == 2
        await anext(model.stream(CHAT, sampling=sampling))
