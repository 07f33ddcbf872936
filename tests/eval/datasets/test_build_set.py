"""`rag eval build` on the shipped examples, with a language model and without one."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from eval.datasets.building import SetBuilder
from eval.datasets.corpus import Corpus
from eval.datasets.excerpts import Excerpt, draw_excerpts
from eval.datasets.loading import load_set
from eval.datasets.question_writers import (
    ClozeDrafter,
    Draft,
    DroppedError,
    ModelDrafter,
    agree,
    overlap,
)
from rag.errors import UpstreamError
from rag.settings.operations import TraceSettings
from rag.types import Document, Heading, Scope, SearchResult
from tests.e2e.test_e2e_chat import CONFIG, KEY
from tests.fakes import ScriptedModel, make_chunk
from tests.model_server import ModelServer, model_server, refuses, says
from tests.places import PEPS
from tests.servers import RAG, Json, rag

SENTENCE = "In 1769 James Watt patented an engine with a separate condenser."
EXCERPT = Excerpt(
    document_id="watt", start=0, end=len(SENTENCE), text=SENTENCE, passage=SENTENCE,
    above=("Steam", "Patents"),
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with some PEPs; each test works on a copy."""
    folder = tmp_path_factory.mktemp("build")
    peps = [PEPS / f"pep-{number}.rst" for number in ("0008", "0020", "0440", "0572")]
    assert rag("ingest", *peps, data=folder / "data").returncode == 0
    return folder / "data"


@pytest.fixture
def model() -> Iterator[ModelServer]:
    with model_server(asks) as running:
        yield running


def asks(handler: BaseHTTPRequestHandler) -> None:
    """Drafts a question about a sentence's last word, or answers it correctly."""
    state: ModelServer = handler.server_state  # type: ignore[attr-defined]
    user = state.requests[-1]["messages"][-1]["content"]
    sentence = user.split("<sentence>\n")[1].split("\n</sentence>")[0]
    answer = re.findall(r"\w+", sentence)[-1]
    number = sum(map(ord, sentence))
    asked = json.dumps({"question": f"Which thing ends remark {number}?", "answer": answer})
    says(answer if "Question: " in user else f"```json\n{asked}\n```")(handler)


def build(data: Path, out: Path, *options: str, code: int = 0) -> Json:
    ran = rag("eval", "build", "--out", out, "--json", *options, data=data)
    assert ran.returncode == code, ran.stdout + ran.stderr
    told: Json = json.loads(ran.stdout or ran.stderr)
    return told


def check(found: Corpus) -> None:
    texts = {passage.id: passage.text for passage in found.passages}
    for question in found.questions:
        (span,) = question.spans
        assert texts[span.document_id][span.start : span.end] == span.quote
        assert found.qrels[question.id] == {span.document_id: 1}
        assert question.answers[0] in " ".join(span.quote.split())


class TestCommand:
    def test_without_a_model(self, data: Path, tmp_path: Path) -> None:
        told = build(data, tmp_path / "one", "--questions", "12")
        assert told["made_by"] == "cloze"
        assert (told["documents"], told["questions"]) == (4, 12)
        assert told["tried"] == 12 + sum(told["dropped"].values())
        found = load_set(str(tmp_path / "one"), TraceSettings())
        assert len(found.passages) == 4
        assert len({q.spans[0].document_id for q in found.questions}) == 4
        assert all("____" in question.text for question in found.questions)
        check(found)
        assert json.loads((tmp_path / "one" / "build.json").read_text())["seed"] == 0
        again, other = tmp_path / "again", tmp_path / "other"
        build(data, again, "--questions", "12")
        build(data, other, "--questions", "12", "--seed", "1")
        one, *others = (
            (folder / "queries.jsonl").read_bytes() for folder in (tmp_path / "one", again, other)
        )
        assert [one == each for each in others] == [True, False]

    def test_with_a_model(self, data: Path, tmp_path: Path, model: ModelServer) -> None:
        copy = shutil.copytree(data, tmp_path / "data")
        (tmp_path / "rag.toml").write_text(CONFIG.format(url=model.url, key=KEY))
        told = build(copy, tmp_path / "set", "--questions", "6")
        assert (told["made_by"], told["questions"]) == ("tiny", 6)
        found = load_set(str(tmp_path / "set"), TraceSettings())
        check(found)
        assert found.questions[0].text.startswith("Which thing ends remark")
        assert found.questions[0].meta["made_by"] == "tiny"

    def test_a_model_that_fails_ends_it(
        self, data: Path, tmp_path: Path, model: ModelServer
    ) -> None:
        copy = shutil.copytree(data, tmp_path / "data")
        (tmp_path / "rag.toml").write_text(CONFIG.format(url=model.url, key=KEY))
        model.script = refuses(400)
        assert "400 - no" in build(copy, tmp_path / "set", code=1)["error"]["message"]
        model.script = says("I would rather not.")
        message = build(copy, tmp_path / "set", "--questions", "2", code=2)["error"]["message"]
        assert message.endswith("'default': 20 no question in what the model wrote.")
        assert not (tmp_path / "set").exists()

    def test_what_cannot_be_served(self, data: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        unknown = build(data, out, "--collection", "none", code=2)
        assert unknown["error"]["code"] == "unknown_collection"
        out.mkdir()
        (out / "mine").touch()
        assert "is there already" in build(data, out, code=2)["error"]["message"]
        ran = rag("eval", "build", "--out", out, "--questions", "0", data=data, command=RAG)
        assert "is no number of questions" in ran.stderr


class TestExcerpts:
    def test_they_are_prose_that_is_said_once(self) -> None:
        fine = "Otters hold hands while they sleep, so that they do not drift apart."
        twice = "This document has been placed in the public domain by all of its authors."
        text = f"Otters\n\n{fine} {twice}\n\nShort one. {fine.lower()}\n\n    x = f(y)[0]  # code\n"
        heading = Heading(start=0, level=1, text="Otters")
        documents = [
            Document(
                id=id_, version="1", uri=id_, media_type="text/plain", title="Zoo", text=body,
                headings=(heading,), furniture=((0, 6),),
            )
            for id_, body in (("a", text), ("b", text.replace(fine, twice)))
        ]  # fmt: skip
        (found,) = draw_excerpts(documents, seed=0)
        assert (found.document_id, found.text, found.above) == ("a", fine, ("Zoo", "Otters"))
        assert text[found.start : found.end] == fine
        assert found.overlaps(make_chunk(text, document_id="a"))
        assert not found.overlaps(make_chunk(text, document_id="b"))
        assert not found.overlaps(make_chunk("Otters", document_id="a"))


@pytest.mark.anyio
class TestDrafts:
    async def test_a_cloze_leaves_out_what_its_titles_do_not_tell(self) -> None:
        texts = [SENTENCE, "It was in 1769."]
        seen = {(await ClozeDrafter(texts, seed=n).draft(EXCERPT)).answer for n in range(20)}
        assert seen == {"James", "Watt"}  # the year stands in another one
        draft = await ClozeDrafter(texts, seed=0).draft(EXCERPT)
        around = {
            "James": "In 1769 ____ Watt patented an engine",
            "Watt": "In 1769 James ____ patented an engine with",
        }
        assert draft.question == f"Patents: {around[draft.answer]}"

    async def test_nothing_to_leave_out(self) -> None:
        plain = "Nothing in here has a name or a number that anybody could leave out."
        with pytest.raises(DroppedError, match="no name or number"):
            await ClozeDrafter([plain], seed=0).draft(_excerpt(plain))

    async def test_a_model_answers_its_own_question(self) -> None:
        model = ScriptedModel(_asked("Who improved steam power?", "James Watt"), "Watt, James")
        draft = await ModelDrafter(model).draft(EXCERPT)
        assert draft.claim == "James Watt improved steam power."
        (_, asked), (_, answered) = model.sent
        assert "<titles>Steam › Patents</titles>" in asked.content
        assert answered.content.endswith("Question: Who improved steam power?")

    @pytest.mark.parametrize(
        ("script", "reason"),
        [
            (["No."], "no question in what the model wrote"),
            (['{"question": "", "answer": ""}'], "nothing to ask"),
            (
                ['{"question": "Who patented an engine with a condenser?", "answer": "Watt"}'],
                "the words of its sentence",
            ),
            (['{"question": "Who?", "answer": "Watt"}', "UNANSWERABLE"], "not answerable from its"),
        ],
    )
    async def test_what_is_dropped(self, script: list[str], reason: str) -> None:
        with pytest.raises(DroppedError, match=reason):
            await ModelDrafter(ScriptedModel(*script)).draft(EXCERPT)

    async def test_a_sentence_stays_in_its_tag(self) -> None:
        model = ScriptedModel("No.")
        with pytest.raises(DroppedError):
            await ModelDrafter(model).draft(_excerpt("Ends </sentence> here."))
        assert "Ends &lt;/sentence> here." in model.sent[0][1].content


@pytest.mark.anyio
async def test_what_fails_now_and_then_or_is_asked_twice_is_counted() -> None:
    class Told:
        """Drafts the excerpt's text as the question, or fails."""

        name = "told"

        async def draft(self, excerpt: Excerpt) -> Draft:
            if excerpt.text == "fail":
                raise UpstreamError("It is away.")
            return Draft(question=excerpt.text, answer="", claim="")

    class Nothing:
        """Finds nothing, so no answer is supported."""

        async def search(self, *_: Any) -> SearchResult:
            return SearchResult(hits=(), degraded=(), timings={})

        async def score(self, *_: Any) -> list[float]:
            return [0.0]

    nothing: Any = Nothing()
    builder = SetBuilder(
        drafter=Told(),
        search=nothing,
        grounding=nothing,
        scope=Scope(tenant="t", collection="c"),
        at_once=3,
    )
    seen: list[int] = []
    excerpts = map(_excerpt, ["One?", "fail", "one", "Two?", "Three?", "Four?"])
    built = await builder.build(excerpts, 3, seen.append)
    assert [made.draft.question for made in built.made] == ["One?", "Two?", "Three?"]
    assert built.dropped == {"model or search failed": 1, "asked before": 1}
    assert (built.tried, seen) == (5, [1, 3])
    with pytest.raises(UpstreamError, match="It is away"):
        await builder.build(iter([_excerpt("fail")] * 9), 3, seen.append)


def test_overlap_heeds_the_order_of_words() -> None:
    assert overlap("James Watt patented what engine?", SENTENCE) == pytest.approx(4 / 5)
    assert overlap("Which engine was patented by Watt, James?", SENTENCE) == pytest.approx(1 / 5)
    assert overlap("", SENTENCE) == 0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("79", "79 characters", True),
        ("79 characters", "72 characters", False),
        ("James Watt", "Watt", True),
        ("the separate condenser", "A separate condenser.", True),
        ("James Watt", "UNANSWERABLE", False),
        ("None", "None.", True),
        ("", "Watt", False),
    ],
)
def test_answers_that_say_the_same(one: str, other: str, same: bool) -> None:
    assert agree(one, other) is same


def _asked(question: str, answer: str) -> str:
    return json.dumps({"question": question, "answer": answer})


def _excerpt(text: str) -> Any:
    return Excerpt(document_id="d", start=0, end=len(text), text=text, passage=text, above=())
