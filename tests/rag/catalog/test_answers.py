"""Stored answers in both kinds of catalog."""

from __future__ import annotations

import asyncio
import json
import math
import secrets
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from eval.online.live_dataset import collect
from rag.catalog import tables
from rag.catalog.answers import LOST_SECONDS, STALE_SECONDS, Answers, _row
from rag.catalog.catalog import Catalog
from rag.catalog.database import Database
from rag.errors import NotFoundError
from rag.feedback.answer_log import MAX_WAITING, AnswerRecorder
from rag.privacy.masking import Masker
from rag.privacy.policy import Capture, Privacy
from rag.records import Feedback, LiveAnswer, Submission
from rag.telemetry.trace import Span, Trace, is_sampled, trace_from, trace_json
from rag.types import Answer, Document, Principal, Query, Scope, Usage

pytestmark = pytest.mark.anyio
MAIL = "jane@corp.example"
TRACE = "f" * 32
CONTENT = {
    "question": "Who?",
    "answer": f"Ask {MAIL}. [1]",
    "passages": [],
    "citations": [{"document_id": "d", "start": 1, "end": 4, "quote": "Ask", "support": 1.0}],
    "unsupported": 0,
    "uncited": [],
    "is_json": False,
}


@pytest.fixture
async def answers(database: Database) -> Answers:
    await database.open()
    return Answers(database)


def given(id_: str, scope: Scope, **fields: Any) -> LiveAnswer:
    defaults = LiveAnswer(
        id=id_,
        trace_id=TRACE,
        scope=scope,
        at=time.time(),
        to_score=True,
        question_chars=4,
        top_score=2.5,
        reason=None,
        confidence=0.9,
        seconds=0.1,
        cost=0.02,
        spans={"": "a" * 16},
        content=CONTENT,
        trace=None,
    )
    return replace(defaults, **fields)


async def ingest(catalog: Catalog, scope: Scope, **versions: str) -> None:
    """Stores documents with these versions, by id."""
    submissions = [Submission(document_id=id_, uri=id_, source={}) for id_ in versions]
    await catalog.jobs.submit(scope, submissions)
    for task in await catalog.tasks.claim(9):
        id_ = task.document_id
        read = Document(id=id_, version=versions[id_], uri=id_, media_type="", title="", text=id_)
        await catalog.tasks.begin(task)
        await catalog.outcomes.succeed(task, read, recipe="r", chunks=1, duplicate_of=None)


def upgrade(connection: sa.Connection, to: str) -> None:
    config = Config()
    config.set_main_option("script_location", "rag.catalog:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, to)


async def test_what_waits_to_be_scored_is_told_until_it_is(
    answers: Answers, database: Database, scope: Scope
) -> None:
    catalog, now = Catalog(database), time.time()
    nothing = await catalog.jobs.backlog()
    assert (nothing.to_score, nothing.oldest_to_score_seconds) == (0, 0)
    await answers.keep([given("a", scope, at=now - 900), given("b", scope, at=now - 60)])
    await answers.keep([given("c", scope, at=now - 1800, to_score=False)])
    await answers.claim(9)  # the claimant may never score it
    both = await catalog.jobs.backlog()
    assert both.to_score == 2
    assert 900 <= both.oldest_to_score_seconds < 960
    await answers.scored(scope.tenant, "a", {}, embedding=None, content=None)
    one = await catalog.jobs.backlog()
    assert one.to_score == 1
    assert 60 <= one.oldest_to_score_seconds < 120


async def test_another_tenant_neither_scores_nor_reads_an_answer(
    answers: Answers, scope: Scope
) -> None:
    await answers.keep([given("a", scope), given("b", replace(scope, tenant="rival"))])
    assert await answers.question("rival", "a") is None
    assert (
        await answers.question("rival", "b") == await answers.question(scope.tenant, "a") == "Who?"
    )
    assert not await answers.scored("rival", "a", {}, embedding=None, content=None)
    assert [answer.id for answer in await answers.unscored(["a"])] == ["a"]
    assert await answers.scored(scope.tenant, "a", {}, embedding=None, content=None)
    assert [answer.id for answer in await answers.unscored(["a", "b"])] == ["b"]
    assert [answer.id for answer in await answers.given(scope, 0, time.time() + 9)] == ["a"]


async def test_an_answer_is_given_out_once_until_it_is_scored(
    answers: Answers, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    await answers.keep([given("b", scope, at=now), given("a", scope, at=now - 1)])
    await answers.keep([given("c", scope, to_score=False)])
    assert await answers.claim(1) == ["a"]
    assert await answers.claim(5) == ["b"]
    assert await answers.claim(5) == []
    assert [answer.id for answer in await answers.unscored(["a", "c"])] == ["a"]
    vector = np.arange(3, dtype=np.float32)
    await answers.scored(scope.tenant, "a", {"groundedness": 0.5}, embedding=vector, content=None)
    assert await answers.unscored(["a"]) == []
    monkeypatch.setattr(time, "time", lambda: now + LOST_SECONDS + 5)
    assert await answers.claim(5) == ["b"]  # claimed and never scored
    (first, *_) = await answers.signals(scope, now - 2, now + 9)
    assert first.embedding is not None
    assert first.embedding.tolist() == [0, 1, 2]
    assert (first.scores, first.top_score, first.cost) == ({"groundedness": 0.5}, 2.5, 0.02)


async def kept(database: Database) -> dict[str, tuple[bool, bool]]:
    """Returns by answer id: whether it has text, and whether its documents are stored."""
    answers = await database.rows(sa.text("SELECT id, content, trace, correction FROM answers"))
    known = await database.rows(sa.text("SELECT answer_id FROM answer_documents"))
    of = {row["answer_id"] for row in known}
    return {
        row["id"]: (any((row["content"], row["trace"], row["correction"])), row["id"] in of)
        for row in answers
    }


async def test_words_of_answers_go_with_a_document_of_theirs(
    answers: Answers, database: Database, scope: Scope
) -> None:
    catalog = Catalog(database)
    await ingest(catalog, scope, d="1", e="1")
    await answers.keep([
        given("a", scope, read={"d": "1", "e": "1"}, trace={"spans": []}, at=time.time() + 1),
        given("b", scope, read={"e": "1"}, trace_id="b" * 32),
        given("c", replace(scope, collection="other"), read={"d": "1"}, trace_id="c" * 32),
        given("n", scope, read={"d": "1"}, content=None),
    ])  # fmt: skip
    await answers.add_feedback(
        Principal(tenant=scope.tenant), "a", Feedback(rating="up", correction="Ask.")
    )
    await catalog.documents.delete(scope, "d")
    assert await kept(database) == {
        "a": (False, True), "b": (True, True), "c": (True, True), "n": (False, False)
    }  # fmt: skip
    (left,) = [each for each in await answers.given(scope, 0, time.time() + 9) if each.id == "a"]
    assert (left.feedback, left.to_score) == (Feedback(rating="up"), False)
    assert (left.confidence, left.cost) == (0.9, 0.02)
    await answers.forget(before=time.time() + 9)
    assert await database.rows(sa.text("SELECT * FROM answer_documents")) == []


async def test_words_of_answers_go_with_the_version_they_were_made_of(
    answers: Answers, database: Database, scope: Scope
) -> None:
    catalog = Catalog(database)
    await ingest(catalog, scope, d="1")
    await answers.keep([given("a", scope, read={"d": "1"})])
    await ingest(catalog, scope, d="1")  # chunked again
    assert await kept(database) == {"a": (True, True)}
    await ingest(catalog, scope, d="2")
    assert await kept(database) == {"a": (False, False)}


async def test_an_answer_that_is_kept_too_late_loses_its_words(
    answers: Answers, database: Database, scope: Scope
) -> None:
    catalog = Catalog(database)
    await ingest(catalog, scope, d="2")
    now = time.time()
    await answers.keep([
        given("gone", scope, read={"x": "1"}),
        given("old", scope, read={"d": "1"}),
        given("fine", scope, read={"d": "2"}),
        given("before", scope, read={"x": "1"}, at=now - 900),
    ])  # fmt: skip
    await answers.forget_late(since=now - 600)
    words = {id_: has for id_, (has, _) in (await kept(database)).items()}
    assert words == {"gone": False, "old": False, "fine": True, "before": True}
    async with database.write():  # SQLite has one writer at a time
        async with asyncio.timeout(30):
            await answers.forget_late(since=now - 600)


async def test_answers_of_before_know_their_documents(
    empty_database: Database, scope: Scope
) -> None:
    database = empty_database
    async with database.write() as db:
        await db.run_sync(upgrade, "0010")
    document = {"id": "d", "uri": "d", "version": "7", "state": "succeeded", "source": {}}
    names = {"tenant": scope.tenant, "collection": scope.collection}
    stored = names | document | {"created_at": "", "updated_at": ""}
    gone = CONTENT | {"citations": [], "passages": [{"document_id": "gone"}]}
    async with database.write() as db:
        await db.execute(tables.documents.insert().values(stored))
        for id_, content in (("a", CONTENT), ("b", gone), ("c", None)):
            answer = _row(given(id_, scope, content=content)) | {"scores": {}}
            for later in (
                *("reader", "degraded", "input_tokens", "output_tokens"),
                *("variant", "rollout", "rollout_version"),
            ):
                del answer[later]  # of a later migration
            await db.execute(tables.answers.insert().values(answer))
    await database.open()
    assert await kept(database) == {"a": (True, True), "b": (False, False), "c": (False, False)}
    (row,) = await database.rows(sa.text("SELECT document_id, version FROM answer_documents"))
    assert dict(row) == {"document_id": "d", "version": "7"}


async def test_two_processes_never_score_the_same(answers: Answers, scope: Scope) -> None:
    await answers.keep([given(str(n), scope) for n in range(40)])
    found = await asyncio.gather(*(answers.claim(7) for _ in range(8)))
    ids = [id_ for each in found for id_ in each]
    assert len(ids) == len(set(ids))


async def test_what_is_old_goes_and_what_nobody_scored_is_scored_no_more(
    answers: Answers, scope: Scope
) -> None:
    now = time.time()
    ages = {"old": 100_000.0, "stale": STALE_SECONDS + 1, "new": 0.0}
    await answers.keep([given(name, scope, at=now - age) for name, age in ages.items()])
    assert await answers.forget(before=now - 50_000) == 1
    left = {answer.id: answer for answer in await answers.given(scope, 0, now + 1)}
    assert left.keys() == {"stale", "new"}
    assert not left["stale"].to_score
    assert left["new"].content == CONTENT


async def test_feedback_adds_up_on_one_answer_of_a_trace(answers: Answers, scope: Scope) -> None:
    now = time.time()
    await answers.keep([given("first", scope, at=now - 9), given("last", scope, at=now)])
    await answers.add_feedback(
        Principal(tenant=scope.tenant), "first", Feedback(rating="down", comment="no")
    )
    stored_answer = await answers.add_feedback(
        Principal(tenant=scope.tenant), "first", Feedback(correction="yes")
    )
    assert (stored_answer.id, stored_answer.feedback) == (
        "first",
        Feedback(rating="down", comment="no", correction="yes"),
    )
    *_, last = await answers.given(scope, 0, now + 1)
    assert (last.id, last.feedback) == ("last", Feedback())
    for tenant, id_ in ((scope.tenant, TRACE), ("somebody else", "first")):
        with pytest.raises(NotFoundError, match="answer_id"):
            await answers.add_feedback(Principal(tenant=tenant), id_, Feedback(rating="up"))


def ended(scope: Scope) -> tuple[Query, Trace, Answer]:
    trace = Trace(tenant=scope.tenant)
    trace.root = Span("query", input="Who?")
    with trace.span("retrieve", "retriever") as span:
        span.output = [{"text": MAIL}]
    trace.root.close()
    answer = Answer(
        id=secrets.token_hex(16),
        question="Who?",
        text=f"Ask {MAIL}. [1]",
        citations=(),
        unsupported=(),
        uncited=(),
        claims=(),
        hits=(),
        passages=(),
        abstained=False,
        reason=None,
        missing=(),
        confidence=0.5,
        degraded=(),
        usage=Usage(cost=0.25),
        finish_reason=None,
        timings={},
        trace_id=trace.id,
    )
    return Query(text="Who?", scope=scope), trace, answer


@pytest.mark.parametrize(
    ("capture", "rate", "kept"),
    [
        ("full", 0.0, f"Ask {MAIL}. [1]"),
        ("masked", 0.0, "Ask [e-mail]. [1]"),
        ("off", 0.0, None),
        ("off", 1.0, None),
        ("masked", 1.0, "Ask [e-mail]. [1]"),
    ],
)
async def test_what_is_kept_of_an_answer(
    answers: Answers, scope: Scope, capture: Capture, rate: float, kept: str | None
) -> None:
    privacy = Privacy(Masker().content, capture=capture, tenants={})
    recorder = AnswerRecorder(answers, privacy, rate=rate, days=1)
    async with recorder.started():
        query, trace, answer = ended(scope)
        recorder.record(query, trace, answer, sent=False)
        await recorder.flush()
        (found,) = await answers.given(scope, 0, time.time() + 1)
    assert recorder.stored.is_set()
    assert (found.content and found.content["answer"]) == kept
    assert (found.cost, found.to_score, found.reason) == (
        0.25,
        rate == 1 and capture != "off",
        None,
    )
    assert found.spans == {"": trace.root.id, "retrieve": trace.spans[0].id}
    assert (found.trace is not None) == found.to_score
    assert MAIL not in str(found.trace)


async def test_what_was_taken_is_kept_though_the_process_is_told_to_end(
    answers: Answers, scope: Scope
) -> None:
    privacy = Privacy(Masker().content, capture="full", tenants={})
    recorder = AnswerRecorder(answers, privacy, rate=0, days=1)

    async def serve() -> None:
        async with recorder.started():
            await asyncio.Event().wait()

    serving = asyncio.create_task(serve())
    await asyncio.sleep(0.05)
    recorder.record(*ended(scope), sent=True)
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    assert len(await answers.given(scope, 0, time.time() + 1)) == 1


async def test_a_flush_waits_for_what_came_before_and_no_more(
    answers: Answers, scope: Scope
) -> None:
    recorder = AnswerRecorder(
        answers, Privacy(Masker().content, capture="full", tenants={}), rate=0, days=1
    )

    async def flood() -> None:
        while True:
            recorder.record(*ended(scope), sent=True)
            await asyncio.sleep(0.002)

    async with recorder.started():
        flooding = asyncio.create_task(flood())
        async with asyncio.timeout(20):
            await recorder.flush()
        assert not flooding.done()
        assert await answers.signals(scope, 0, math.inf)
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)


async def test_a_slow_catalog_delays_nobody_and_loses_what_is_too_much(
    answers: Answers, scope: Scope
) -> None:
    privacy = Privacy(Masker().content, capture="full", tenants={})
    recorder = AnswerRecorder(answers, privacy, rate=0, days=1)
    for _ in range(2 * MAX_WAITING):
        recorder.record(*ended(scope), sent=True)
    async with recorder.started():
        await recorder.flush()
    assert len(await answers.given(scope, 0, time.time() + 1)) == MAX_WAITING


def test_a_trace_survives_its_way_through_the_catalog(scope: Scope) -> None:
    _, trace, _ = ended(scope)
    again = trace_from(json.loads(json.dumps(trace_json(trace))))
    assert again.spans[0].parent is again.root
    assert trace_json(again) == trace_json(trace)


def test_samples_agree_and_hold_their_share() -> None:
    ids = [Trace().id for _ in range(4000)]
    tenth = {id_ for id_ in ids if is_sampled(id_, 0.1)}
    assert tenth <= {id_ for id_ in ids if is_sampled(id_, 0.3)}
    assert 300 < len(tenth) < 500
    assert all(is_sampled(id_, 1.0) for id_ in ids)
    assert not any(is_sampled(id_, 0.0) for id_ in ids)


def test_what_is_collected(scope: Scope) -> None:
    def asked(question: str, **fields: Any) -> LiveAnswer:
        return given(
            secrets.token_hex(16), scope, content={**CONTENT, "question": question}, **fields
        )

    cases = collect(
        [
            asked("Fine?", scores={"groundedness": 0.9, "answer_relevance": 0.1}),
            asked("Low?", scores={"groundedness": 0.2}),
            asked("Up?", feedback=Feedback(rating="up")),
            asked("Mended?", feedback=Feedback(rating="down", correction="42")),
            asked("low? ", scores={"groundedness": 0.3}),  # the same question again
            given("silent", scope, content=None, feedback=Feedback(rating="down")),
        ],
        low=0.5,
        sample=0.0,
    )
    assert [(c["question"], c["answer"], c["why"]) for c in cases] == [
        ("Up?", CONTENT["answer"], ["rated up"]),
        ("Mended?", "42", ["rated down", "corrected"]),
        ("low?", None, ["groundedness 0.30"]),
    ]
    assert [len(case["evidence"]) for case in cases] == [1, 0, 0]
    everything = collect([asked("Fine?", scores={})], low=0.5, sample=1.0)
    assert [case["why"] for case in everything] == [["sample"]]
