"""The journeys in docs/architecture.md are those that a question and a document take."""

from __future__ import annotations

import contextlib
import importlib
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from types import CodeType, FrameType

import httpx
import pytest

from rag.api.app import app_without_lifespan
from rag.api.deps import Running
from rag.build.running import start
from rag.protocols import Queue
from rag.settings.tree import Settings, load_settings
from retrieval.embedders.embedder import BertEmbedder
from tests.architecture import PICTURE
from tests.model_server import model_server, says

PAGE = PICTURE.with_suffix(".md")
ROOT = PAGE.parent.parent
MOST = 8
JOURNEYS = ("The journey of a question", "The stages of retrieval", "The journey of a document")
_ROW = re.compile(r"^\| (\d) \| `([\w/]+\.py)` \| `([\w.]+)` \| ([^|]+\.) \|$", re.MULTILINE)
FACT = "James Watt patented a separate condenser in 1769."


@dataclass(frozen=True, slots=True)
class Hop:
    """A function of a journey and its sentence."""

    file: str
    function: str
    sentence: str

    def code(self) -> CodeType:
        """Returns the compiled function.

        Raises:
            ImportError, AttributeError: There is no such file, or no such function in it.
        """
        module = importlib.import_module(self.file.removesuffix(".py").replace("/", "."))
        function = reduce(getattr, self.function.split("."), module)
        code: CodeType = function.__code__
        return code


def hops(journey: str) -> list[Hop]:
    (section,) = re.findall(rf"^## {journey}\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.M | re.S)
    rows = _ROW.findall(section)
    assert len(rows) == section.count("\n| ") - 1, "a row of the table is not of its form"
    assert [int(number) for number, *_ in rows] == list(range(1, len(rows) + 1))
    return [Hop(*row) for _, *row in rows]


@dataclass(slots=True)
class Calls:
    """Calls of hops on this thread: the first of each hop, in order, and the backward calls."""

    places: dict[CodeType, int]
    first: list[int] = field(default_factory=list)
    backwards: set[tuple[int, int]] = field(default_factory=set)

    def see(self, frame: FrameType, event: str, _: object) -> None:
        place = self.places.get(frame.f_code)
        if event != "call" or place is None:
            return
        if place not in self.first:
            self.first.append(place)
        caller = frame.f_back
        while caller is not None:
            if self.places.get(caller.f_code, 0) > place:
                self.backwards.add((self.places[caller.f_code], place))
            caller = caller.f_back


@contextlib.contextmanager
def calls_of(journey: Sequence[Hop]) -> Iterator[Calls]:
    """Records the calls of these hops in the block."""
    calls = Calls({hop.code(): number for number, hop in enumerate(journey, start=1)})
    sys.setprofile(calls.see)
    try:
        yield calls
    finally:
        sys.setprofile(None)


@pytest.mark.parametrize("journey", JOURNEYS)
def test_each_hop_exists_and_there_are_at_most_eight(journey: str) -> None:
    found = hops(journey)
    assert 1 < len(found) <= MOST
    for hop in found:
        assert Path(hop.code().co_filename) == ROOT / hop.file
        assert hop.sentence.count(". ") == 0, "one sentence"


def test_a_hop_that_does_not_exist_is_found() -> None:
    with pytest.raises(ModuleNotFoundError):
        Hop("rag/nowhere.py", "query", "").code()
    with pytest.raises(AttributeError):
        Hop("rag/pipeline/query.py", "QueryPipeline.nothing", "").code()


@pytest.fixture
def settings(folder: Path) -> Iterator[Settings]:
    with model_server(says(f"{FACT} [1]")) as model:
        model_settings = {
            "kind": "openai",
            "base_url": model.base_url,
            "model": "tiny",
            "threshold": 0,
        }
        retrieval = {"expansion": "hyde", "diversity": 0.2, "context_chars": 4000}
        yield load_settings(data_dir=folder, generator=model_settings, retrieval=retrieval)


@pytest.mark.anyio
async def test_a_document_and_a_question_take_the_hops_in_order_and_never_back(
    settings: Settings, embedder: BertEmbedder
) -> None:
    question, stages, document = map(hops, JOURNEYS)
    async with start(settings, embedder=embedder) as (service, queue):
        app = app_without_lifespan(settings, Running(opened=service, queue=queue))
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            with calls_of(document) as ingesting:
                await ingest(http, queue)
            with calls_of(question) as answering:
                await ask(http)
            with calls_of(stages) as retrieving:
                await ask(http)
    for journey, calls in ((document, ingesting), (question, answering), (stages, retrieving)):
        assert calls.first == list(range(1, len(journey) + 1))
        assert calls.backwards == set()


async def ingest(http: httpx.AsyncClient, queue: Queue) -> None:
    documents = [{"id": "watt", "text": FACT}, {"id": "rain", "text": "It rains."}]
    sent = await http.post("/v1/documents", json={"documents": documents})
    assert sent.status_code == 202
    await queue.drain()


async def ask(http: httpx.AsyncClient) -> None:
    turns = ("Who was James Watt?", "An engineer.", "What did he patent?")
    messages = [
        {"role": "assistant" if n % 2 else "user", "content": text} for n, text in enumerate(turns)
    ]
    answer = (await http.post("/v1/query", json={"messages": messages})).json()
    assert (answer["answer"], answer["degraded"]) == (f"{FACT} [1]", [])
