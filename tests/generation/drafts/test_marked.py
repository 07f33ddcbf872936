"""Unsupported sentences of a model are marked behind the text that was sent at once."""

from __future__ import annotations

import pytest

from generation.drafts.draft import Written
from generation.drafts.marked import MarkedDraft
from generation.grounding.claims import ClaimChecker
from generation.grounding.groundedness import Grounding, load_grounding
from generation.grounding.support import BlendedSupport
from rag.types import Citation, Delta, Retraction
from retrieval.embedders.embedder import ModelEmbedder
from tests.generation.drafts.test_strict import LEAVE, QUESTION, TAXI, TELLS, hits, quoted

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_loop")]


@pytest.fixture
def draft(embedder: ModelEmbedder) -> MarkedDraft:
    passages = hits(TAXI, LEAVE)
    checker = ClaimChecker(QUESTION, passages, Grounding(embedder, load_grounding()), quoted, TELLS)
    return MarkedDraft(passages, BlendedSupport(embedder), checker=checker)


async def written(draft: MarkedDraft, text: str, step: int) -> list[Written]:
    events: list[Written] = []
    for start in range(0, len(text), step):
        events += await draft.take(Delta(text=text[start : start + step], model="its"))
    return [*events, *await draft.finish()]


@pytest.mark.parametrize("step", [1, 3, 1000])
async def test_an_unsupported_claim_is_marked_and_retracted(draft: MarkedDraft, step: int) -> None:
    events = await written(
        draft, "The taxi limit is £1.50. [1] There are 27 days of leave. Is that all?", step
    )
    text = "The taxi limit is £1.50. [unsupported] There are 27 days of leave. [2] Is that all?"
    assert draft.text == "".join(e for e in events if isinstance(e, str)) == text
    (retraction,) = (e for e in events if isinstance(e, Retraction))
    assert text[retraction.start : retraction.end] == "The taxi limit is £1.50."
    assert retraction.objection == "figure"
    assert [c.outcome for c in draft.claims] == ["marked", "supported"]
    (citation,) = (e for e in events if isinstance(e, Citation))
    assert text[citation.marker_start : citation.marker_end] == " [2]".strip()


async def test_text_is_sent_before_its_sentence_is_complete(draft: MarkedDraft) -> None:
    assert await draft.take(Delta(text="A taxi ride is ", model="its")) == ["A taxi ride is"]


async def test_quotes_of_an_extractive_fallback_need_no_check(draft: MarkedDraft) -> None:
    await draft.take(Delta(text="A taxi ride is refunded up to £50. [1]"))
    await draft.finish()
    assert draft.claims == ()
