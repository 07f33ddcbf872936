"""Strings and numbers of an answer in JSON are claims."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from generation.drafts.json_draft import CheckedJsonDraft
from generation.grounding.claims import ClaimChecker
from generation.grounding.groundedness import Grounding, load_grounding
from generation.grounding.support import BlendedSupport
from rag.types import Delta
from retrieval.embedders.embedder import ModelEmbedder
from tests.generation.drafts.test_strict import LEAVE, QUESTION, TAXI, TELLS, hits, quoted

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_loop")]

GOOD = {"limit": 50, "currency": "GBP", "text": "A taxi ride is refunded up to £50. [1]", "ok": 1}
BAD = GOOD | {"limit": 1.5}


def made(embedder: ModelEmbedder, may_revise: Callable[[], bool] | None) -> CheckedJsonDraft:
    passages = hits(TAXI, LEAVE)
    checker = ClaimChecker(QUESTION, passages, Grounding(embedder, load_grounding()), quoted, TELLS)
    support = BlendedSupport(embedder)
    return CheckedJsonDraft(passages, support, checker=checker, may_revise=may_revise)


async def write(draft: CheckedJsonDraft, value: Any) -> str:
    await draft.take(Delta(text=json.dumps(value, ensure_ascii=False), model="its"))
    await draft.finish()
    return draft.text


async def test_supported_json_is_shown_whole(embedder: ModelEmbedder) -> None:
    draft = made(embedder, lambda: False)
    assert json.loads(await write(draft, GOOD)) == GOOD
    assert [c.outcome for c in draft.claims] == ["supported"]


@pytest.mark.parametrize(
    "bad",
    [
        BAD,
        GOOD | {"text": "A taxi ride is refunded up to £9. [1]"},
        GOOD | {"note": "£9"},
        {"nested": [{"deep": "The moon is made of green cheese."}]},
        [9e2],
    ],
)
async def test_json_with_an_unsupported_value_is_not_shown(
    embedder: ModelEmbedder, bad: Any
) -> None:
    draft = made(embedder, lambda: False)
    assert await write(draft, bad) == ""
    assert draft.abstained == "unsupported"
    assert draft.citations == ()
    assert {c.outcome for c in draft.claims} == {"removed"}


async def test_with_time_left_json_is_written_anew_once(embedder: ModelEmbedder) -> None:
    draft = made(embedder, lambda: True)
    assert await write(draft, BAD) == ""
    assert draft.refused is not None
    assert draft.refused.missing == ("1.5",)
    draft.revise()
    assert json.loads(await write(draft, GOOD)) == GOOD
    assert draft.abstained is None


async def test_a_second_bad_try_abstains(embedder: ModelEmbedder) -> None:
    draft = made(embedder, lambda: True)
    await write(draft, BAD)
    draft.revise()
    assert await write(draft, BAD) == ""
    assert draft.refused is None
    assert draft.abstained == "unsupported"


async def test_where_it_is_not_strict_claims_are_listed(embedder: ModelEmbedder) -> None:
    draft = made(embedder, None)
    text = await write(draft, BAD)
    assert json.loads(text) == BAD
    (marked,) = (c for c in draft.claims if c.outcome == "marked")
    assert text[marked.start : marked.end] == "1.5"
