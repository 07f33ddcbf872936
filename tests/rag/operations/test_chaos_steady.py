"""Experiments judge what they saw: each fault of the steady state is found."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import get_args

import pytest

from rag.cli.operation_arguments import EXPERIMENTS as NAMED
from rag.client import NEVER, AsyncClient
from rag.operations.chaos import census as counting
from rag.operations.chaos import steady_load as loading
from rag.operations.chaos.census import Census, census
from rag.operations.chaos.engine import quote
from rag.operations.chaos.experiments import EXPERIMENTS
from rag.operations.chaos.steady import Check, judged, recovered
from rag.operations.chaos.steady_load import COLLECTION, Load, Phase, Sample
from retrieval.embedders.embedder import BertEmbedder
from tests.in_process import serving_here

WELL = [
    Sample(kind, phase, 0.1, "right")
    for phase in get_args(Phase)
    for kind in ("question", "documents")
    for _ in range(5)
]
COUNTED = Census(accepted=9)


def failing(name: str, *more: Sample, under_way: int = 0, counts: Census = COUNTED) -> list[str]:
    """Returns the checks that do not hold."""
    report = judged(name, EXPERIMENTS[name], under_way, [*WELL, *more], counts)
    failed: list[Check] = [check for check in report.checks if not check.holds]
    assert report.holds == (not failed)
    return [f"{check.phase}: {check.what}" for check in failed]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_steady_state_holds(name: str) -> None:
    assert failing(name) == []


def test_questions_under_way_may_fail_on_a_killed_process_and_no_more() -> None:
    lost = Sample("question", "during", 0.1, "failed", "model_unreachable")
    assert failing("kill-engine", lost, lost, under_way=2) == []
    assert failing("kill-engine", lost, lost, under_way=1) == ["during: questions failed"]
    assert failing("kill-worker", lost, under_way=9) == ["during: questions failed"]


def test_a_full_disk_may_refuse_documents_while_it_is_full_and_nothing_else() -> None:
    refused = Sample("documents", "during", 0.1, "failed", "disk_full")
    assert failing("fill-disk", refused) == []
    assert failing("kill-worker", refused) == ["during: requests with documents failed"]
    late = Sample("documents", "after", 0.1, "failed", "disk_full")
    assert failing("fill-disk", late) == ["after: requests with documents failed"]


@pytest.mark.parametrize("phase", get_args(Phase))
def test_no_answer_may_be_wrong_at_any_time(phase: Phase) -> None:
    wrong = Sample("question", phase, 0.1, "wrong")
    assert failing("kill-engine", wrong, under_way=9) == [f"{phase}: answers wrong"]


def test_lost_and_doubled_documents_are_found() -> None:
    assert failing("clock", counts=Census(lost=1)) == ["after: documents lost"]
    assert failing("clock", counts=Census(doubled=1)) == ["after: documents doubled"]
    assert failing("clock", counts=Census(strange=1)) == ["after: documents that nobody sent"]


def test_the_end_must_be_as_quick_as_the_beginning() -> None:
    slow, quick = (Sample("question", "after", s, "right", window=1) for s in (0.71, 0.69))
    assert failing("clock", slow) == ["after: seconds, median of the end"]
    assert failing("clock", slow, slow, quick) == ["after: seconds, median of the end"]
    assert failing("clock", quick, quick, slow) == [], "one of three is slow"
    assert not recovered([*WELL, slow], 1)
    assert recovered([*WELL, slow, quick, quick], 1)
    assert recovered([*WELL, slow], 0), "the window before"
    assert not recovered(WELL, 1), "no question has ended"


def test_the_command_knows_every_experiment() -> None:
    assert set(NAMED) == set(EXPERIMENTS)


def test_the_stand_in_quotes_the_sentence_that_fits() -> None:
    first, second = "A\nIt rains.", "B\nThe depot opens."
    passages = f'<passage n="1">\n{first}\n</passage>\n<passage n="2">\n{second}\n</passage>'
    assert quote(f"{passages}\n\nQuestion: When does the depot open?") == "The depot opens. [2]"
    assert quote("Question: Why?") == "The passages do not say."


@pytest.fixture
async def client(tmp_path: Path, embedder: BertEmbedder) -> AsyncIterator[AsyncClient]:
    async with serving_here(tmp_path / "data", embedder) as (http, _):
        transport = http._transport
        async with AsyncClient("http://localhost", retries=NEVER, transport=transport) as made:
            yield made


@pytest.mark.anyio
async def test_the_census_finds_what_is_lost_doubled_and_strange(
    client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "_PAUSE", 0.02)
    monkeypatch.setattr(loading, "KNOWN", 4)
    load = Load(client)
    await load.prepare()
    assert await counted(client, load) == (0, 0, 0)
    first, second, third = list(load.accepted.values())[:3]
    await client.delete_document(first.id, collection=COLLECTION)
    del load.accepted[second.id]
    twice = f"{third.text} " + "And so on it goes, word after word after word. " * 60
    sent = await client.submit_documents(
        [{"id": third.id, "text": f"{twice}\n\n# Again\n\n{twice}"}], collection=COLLECTION
    )
    assert (await sent.wait()).state == "succeeded"
    assert await counted(client, load) == (1, 1, 1)


async def counted(client: AsyncClient, load: Load) -> tuple[int, int, int]:
    counts = await census(client, load)
    return counts.lost, counts.doubled, counts.strange
