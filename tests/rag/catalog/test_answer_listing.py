"""Lists of stored answers in both kinds of catalog."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from rag.catalog.answer_listing import AnswerListing, Below, Chosen
from rag.catalog.answers import Answers
from rag.catalog.catalog import Catalog
from rag.catalog.database import Database
from rag.records import Feedback, ListedAnswer
from rag.types import Principal, Scope
from tests.rag.catalog.test_answers import MAIL, given, ingest

pytestmark = pytest.mark.anyio
NOW = 1_700_000_000.25
ALL = Chosen()


@pytest.fixture
async def answers(database: Database) -> Answers:
    await database.open()
    return Answers(database)


@pytest.fixture
def listing(database: Database) -> AnswerListing:
    return AnswerListing(database)


async def every(listing: AnswerListing, tenant: str, chosen: Chosen = ALL) -> list[str]:
    """Returns the ids of all pages of two answers."""
    found: list[ListedAnswer] = []
    after = None
    while page := await listing.page(tenant, chosen, limit=2, after=after):
        found += page
        after = (page[-1].at, page[-1].id)
    return [each.id for each in found]


async def test_a_listed_answer_has_its_words_numbers_and_feedback(
    answers: Answers, listing: AnswerListing, scope: Scope
) -> None:
    stored = given(
        "a", scope, at=NOW, degraded=("rerank: too late",), input_tokens=900, output_tokens=40
    )
    await answers.keep([stored])
    await answers.scored(
        scope.tenant, "a", {"groundedness": 0.5}, embedding=None, content=stored.content
    )
    feedback = Feedback(rating="down", comment="No.", correction="Yes.")
    await answers.add_feedback(Principal(tenant=scope.tenant), "a", feedback)
    [listed] = await listing.page(scope.tenant, ALL, limit=9)
    assert listed == ListedAnswer(
        id="a", collection=scope.collection, at=NOW, question="Who?", answer=f"Ask {MAIL}. [1]",
        reason=None, confidence=0.9, scores={"groundedness": 0.5}, rating="down", comment="No.",
        correction="Yes.", degraded=("rerank: too late",), seconds=0.1, cost=0.02,
        input_tokens=900, output_tokens=40, trace_id=stored.trace_id,
    )  # fmt: skip
    assert (await answers.given(scope, NOW, NOW + 1))[0].degraded == stored.degraded


async def test_pages_are_in_the_order_of_time_and_skip_and_repeat_nothing(
    answers: Answers, listing: AnswerListing, scope: Scope
) -> None:
    at_once = [given(id_, scope, at=NOW) for id_ in "edcab"]  # several of one moment
    later = [given(f"l{n}", scope, at=NOW + n / 7) for n in range(1, 6)]
    await answers.keep([*at_once, *later, given("x", replace(scope, tenant="rival"), at=NOW + 9)])
    expected = ["l5", "l4", "l3", "l2", "l1", "e", "d", "c", "b", "a"]
    assert await every(listing, scope.tenant) == expected
    assert await every(listing, "rival") == ["x"]
    assert await every(listing, "nobody") == []


async def test_answers_are_chosen_by_collection_reason_rating_and_scores(
    answers: Answers, listing: AnswerListing, scope: Scope
) -> None:
    other = replace(scope, collection="other")
    await answers.keep(
        [
            given("good", scope, at=NOW, scores={"groundedness": 0.5, "answer_relevance": 0.1}),
            given("bad", scope, at=NOW + 1, scores={"groundedness": 0.49}),
            given("none", other, at=NOW + 2, reason="no_match", content=None),
        ]
    )
    caller = Principal(tenant=scope.tenant)
    await answers.add_feedback(caller, "good", Feedback(rating="up"))
    await answers.add_feedback(caller, "none", Feedback(rating="down"))
    below = Below(0.5, ("groundedness", "judge_relevance"))
    for chosen, expected in (
        (Chosen(collections={"other"}), ["none"]),
        (Chosen(collections={scope.collection}), ["bad", "good"]),
        (Chosen(collections=()), []),
        (Chosen(abstained=True), ["none"]),
        (Chosen(abstained=False), ["bad", "good"]),
        (Chosen(rating="up"), ["good"]),
        (Chosen(rating="down", abstained=False), []),
        (Chosen(low=True, below=below), ["bad"]),
        (Chosen(low=False, below=below), ["none", "good"]),
        (Chosen(low=True, below=Below(0.5, ())), []),
    ):
        assert await every(listing, scope.tenant, chosen) == expected, chosen
    [declined] = await listing.page(scope.tenant, Chosen(abstained=True), limit=9)
    assert (declined.question, declined.answer) == (None, None)  # no words of it are kept


async def test_words_of_a_changed_document_are_not_listed(
    answers: Answers, listing: AnswerListing, database: Database, scope: Scope
) -> None:
    """An answer that is given while its document is deleted keeps its words for a minute."""
    catalog = Catalog(database)
    await ingest(catalog, scope, kept="1", gone="1")
    read = {"read": {"kept": "1"}}, {"read": {"kept": "1", "gone": "1"}}
    await answers.keep(
        [given(id_, scope, **fields) for id_, fields in zip("ab", read, strict=True)]
    )
    comment = Feedback(comment="It quotes.", correction="So it is.")
    await answers.add_feedback(Principal(tenant=scope.tenant), "b", comment)
    assert [each.question for each in await listing.page(scope.tenant, ALL, limit=9)] == [
        "Who?", "Who?"
    ]  # fmt: skip
    await catalog.documents.delete(scope, "gone")
    await answers.keep([given("c", scope, at=time.time() + 1, read={"gone": "1"})])  # late
    found = {each.id: each for each in await listing.page(scope.tenant, ALL, limit=9)}
    assert found["a"].question == "Who?"
    for id_ in "bc":
        listed = found[id_]
        words = (listed.question, listed.answer, listed.comment, listed.correction)
        assert words == (None, None, None, None), id_
        assert listed.confidence == 0.9


async def test_measurements_are_read_in_parts_and_whole(
    answers: Answers, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rag.catalog.answers.SIGNALS_AT_ONCE", 3)
    await answers.keep([given(f"{n}", scope, at=NOW + n // 4) for n in range(10)])
    found = await answers.signals(scope, NOW, NOW + 2)
    assert [each.id for each in found] == [f"{n}" for n in range(8)]
    assert await answers.count(scope, NOW, NOW + 2) == 8
    assert await answers.count(scope, NOW + 9, NOW + 10) == 0
