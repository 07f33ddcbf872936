"""Sets from folders, files, ir_datasets and Langfuse, and the errors of invalid ones."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from eval.datasets.corpus import Span, read_corpus, span_fault
from eval.datasets.loading import check_spans, load_set
from eval.online.live_dataset import collect
from ingest.readers.decoding import storable
from ingest.readers.registry import read_json
from rag.errors import ConfigError, InputError, NotFoundError, UpstreamError
from rag.records import Feedback
from rag.settings.operations import TraceSettings
from rag.telemetry.langfuse_datasets import AT_ONCE
from rag.types import Scope
from tests.langfuse_sets import KEYS, LangfuseSets, langfuse_sets
from tests.places import ROOT
from tests.rag.catalog.test_answers import given

DOCS = ROOT / "docs" / "evaluation-sets.md"
PEP_8 = ROOT / "examples" / "peps" / "pep-0008.rst"
NOWHERE = TraceSettings()
TEXT = "Otters hold hands while they sleep. Owls hunt at night."
QUOTE = "Owls hunt at night."
START = TEXT.index(QUOTE)
EVIDENCE = {"document_id": "d1", "start": START, "end": len(TEXT), "quote": QUOTE}
PASSAGES = [
    {"_id": "d1", "title": "Animals", "text": TEXT},
    {"_id": "d2", "text": "", "metadata": {"year": 1999}},
]
QUESTIONS = [
    {
        "_id": "q1",
        "text": "When do owls hunt?",
        "metadata": {
            "answers": ["at night"], "doc": "d1", "spans": [[START, len(TEXT)]], "quotes": [QUOTE],
            "lang": "en", "hard": True,
        },
    },
    {"_id": "q2", "text": "Do owls sing?", "metadata": {"answerable": False, "lang": "de"}},
    {"_id": "q3", "text": "Of another split?"},
]  # fmt: skip
QRELS = [("q1", "d1", 2), ("q1", "d2", 0)]


def write(
    folder: Path,
    passages: Sequence[Any] = PASSAGES,
    questions: Sequence[Any] = QUESTIONS,
    qrels: Sequence[Any] = QRELS,
) -> Path:
    """Writes a folder in the BEIR layout; a row that is a string is written unchanged."""
    (folder / "qrels").mkdir(parents=True)
    for name, rows in (("corpus", passages), ("queries", questions)):
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        (folder / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    table = ["query-id\tcorpus-id\tscore"]
    table += [row if isinstance(row, str) else "\t".join(map(str, row)) for row in qrels]
    (folder / "qrels" / "test.tsv").write_text("\n".join(table), encoding="utf-8")
    return folder


def write_cases(folder: Path, *cases: Any) -> Path:
    path = folder / "cases.jsonl"
    path.write_text("".join(f"{json.dumps(case)}\n" for case in cases), encoding="utf-8")
    return path


def asked(**metadata: Any) -> dict[str, Any]:
    return {"_id": "q1", "text": "When?", "metadata": {"doc": "d1", **metadata}}


def said(name: str | Path, traces: TraceSettings = NOWHERE) -> str:
    with pytest.raises(InputError) as caught:
        load_set(str(name), traces)
    return str(caught.value)


class TestFolders:
    def test_it_is_read_whole(self, tmp_path: Path) -> None:
        found = load_set(str(write(tmp_path / "zoo")), NOWHERE)
        assert found.name == "zoo"
        assert [p.id for p in found.passages] == ["d1", "d2"]
        assert [q.id for q in found.questions] == ["q1", "q2"]  # nothing is known of q3
        assert found.qrels == {"q1": {"d1": 2, "d2": 0}}
        span = Span(document_id="d1", start=START, end=len(TEXT), quote=QUOTE)
        assert found.questions[0].spans == (span,)

    def test_spans_are_of_the_text_as_it_is_ingested(self, tmp_path: Path) -> None:
        text = "\ufeffOtters sleep.\r\n\r\nOwls\x00 hunt\r\nat night. Bats too."
        quote = "Owls\x00 hunt\r\nat night."
        start = text.index(quote)
        passages = [{"_id": "d1", "text": text}]
        meta = {"doc": "d1", "spans": [[start, start + len(quote)]], "quotes": [quote]}
        questions = [{"_id": "q1", "text": "When do owls hunt?", "metadata": meta}]
        corpus = load_set(str(write(tmp_path, passages, questions, [("q1", "d1", 1)])), NOWHERE)
        document = read_json(json.dumps({"text": storable(text)}).encode(), id="d1", uri="d1")
        (span,) = corpus.questions[0].spans
        assert document.text[span.start : span.end] == span.quote == "Owls hunt\r\nat night."
        check_spans(corpus.questions, {"d1": document.text})

    def test_slices_are_of_metadata_that_tells_questions_apart(self, tmp_path: Path) -> None:
        questions = [
            {"_id": f"q{n}", "text": "?", "metadata": {"answerable": n > 3, "n": n, "kind": n % 2,
             "same": "x", "long": "y" * (40 + n % 2), "deep": [n], "doc": None}}
            for n in range(30)
        ]  # fmt: skip
        slices = load_set(str(write(tmp_path / "zoo", questions=questions, qrels=[
            (f"q{n}", "d1", 1) for n in range(30)
        ])), NOWHERE).slices()  # fmt: skip
        assert slices["q0"] == {"answerable": "false", "kind": "0"}
        assert slices["q5"] == {"answerable": "true", "kind": "1"}

    def test_a_fingerprint_is_of_what_is_said_and_not_of_the_order(self, tmp_path: Path) -> None:
        one = read_corpus(write(tmp_path / "one"))
        other = read_corpus(write(tmp_path / "other", PASSAGES[::-1], QUESTIONS[::-1], QRELS[::-1]))
        assert one.fingerprint == other.fingerprint
        question = one.questions[0]
        changed = [
            replace(one, passages=(replace(one.passages[0], text="Other"), one.passages[1])),
            replace(one, qrels={"q1": {"d1": 1, "d2": 0}}),
            replace(one, qrels={"q1": {"d1": 2}}),
            *(
                replace(one, questions=(replace(question, **told), one.questions[1]))
                for told in (
                    {"text": "?"}, {"answers": ()}, {"answerable": False}, {"spans": ()},
                    {"id": "q9"},
                )
            ),
        ]  # fmt: skip
        prints = {corpus.fingerprint for corpus in (one, *changed)}
        assert len(prints) == len(changed) + 1

    @pytest.mark.parametrize(
        ("passages", "questions", "qrels", "fault"),
        [
            (PASSAGES, QUESTIONS, [*QRELS, ("q1", "d9", 1)], "line 4 (no document 'd9')"),
            (PASSAGES, QUESTIONS, [*QRELS, ("q9", "d1", 1)], "line 4 (no question 'q9')"),
            (PASSAGES, QUESTIONS, [("q1", f"x{n}", 1) for n in range(9)], "and 6 more"),
            (PASSAGES, QUESTIONS, [*QRELS, ("q1", "d1", 1)], "line 4 (judged otherwise before)"),
            (PASSAGES, QUESTIONS, ["1 0 184 3"], "test.tsv, line 2: wants query, document, gain"),
            (PASSAGES, QUESTIONS, [("q1", "d1", "good")], "line 2: the gain 'good' is no whole"),
            (PASSAGES, QUESTIONS[2:], [], "None of the 1 questions of the set zoo is judged"),
            ([*PASSAGES, PASSAGES[0]], QUESTIONS, QRELS, "corpus.jsonl, line 3: the id 'd1' is"),
            (PASSAGES, [*QUESTIONS, QUESTIONS[0]], QRELS, "queries.jsonl, line 4: the id 'q1' is"),
            ([], QUESTIONS, QRELS, "The set zoo has no documents"),
            (PASSAGES, [], QRELS, "The set zoo has no questions"),
            (["", "{"], QUESTIONS, QRELS, "corpus.jsonl, line 2: Invalid JSON: EOF"),
            (["[]"], QUESTIONS, QRELS, "corpus.jsonl, line 1: Input should be an object"),
            ([{"_id": 1, "text": ""}], QUESTIONS, QRELS, "line 1: `_id`: Input should be a valid"),
            ([{"_id": "d1"}], QUESTIONS, QRELS, "line 1: `text`: Field required"),
            (['{"_id": "d1", "text": "\\ud800"}'], QUESTIONS, QRELS, "line 1: Invalid JSON: "),
            (PASSAGES, [{"_id": "q1", "text": " "}], QRELS, "line 1: `text`: String should match"),
            (PASSAGES, [asked(answers="x")], QRELS, "in `metadata`, `answers`: Input should be"),
            (PASSAGES, [asked(answerable="no")], QRELS, "in `metadata`, `answerable`: "),
            (PASSAGES, [asked(spans=[[1]])], QRELS, "line 1: in `metadata`, `spans.0`: List"),
            (PASSAGES, [asked(spans=[[9, 9]])], QRELS, "line 1: the span 9 to 9 is none of 'd1'"),
            (PASSAGES, [asked(spans=[[-1, 9]])], QRELS, "the span -1 to 9 is none of 'd1'"),
            (PASSAGES, [asked(spans=[[0, 999]])], QRELS, "which has 55 characters"),
            (PASSAGES, [asked(spans=[[0, 9]], quotes=["Other"])], QRELS, "not the text of its"),
            (PASSAGES, [asked(spans=[[0, 9]], quotes=[])], QRELS, "wants as many as"),
            (PASSAGES, [asked(spans=[[0, 9]], doc=None)], QRELS, "wants `metadata.doc`"),
            (PASSAGES, [asked(spans=[[0, 9]], doc="x")], QRELS, "'x', which there is not"),
        ],
    )  # fmt: skip
    def test_what_is_wrong_is_named_with_its_line(
        self, tmp_path: Path, passages: Any, questions: Any, qrels: Any, fault: str
    ) -> None:
        message = said(write(tmp_path / "zoo", passages, questions, qrels))
        assert fault in message

    def test_bytes_that_are_no_utf_8(self, tmp_path: Path) -> None:
        folder = write(tmp_path / "zoo")
        (folder / "queries.jsonl").write_bytes('{"_id": "q1", "text": "Käse?"}'.encode("cp1252"))
        assert "queries.jsonl, line 1: Invalid JSON: invalid unicode" in said(folder)
        write(tmp_path / "two")
        (tmp_path / "two" / "qrels" / "test.tsv").write_bytes(b"q\xff\td\t1\n")
        assert "test.tsv is no table in UTF-8" in said(tmp_path / "two")

    def test_another_layout(self, tmp_path: Path) -> None:
        (tmp_path / "train.json").write_text("{}")
        message = said(tmp_path)
        assert (
            "corpus.jsonl is missing: a set is a folder with corpus.jsonl, queries.jsonl" in message
        )
        assert "this one has train.json." in message
        assert "is neither a folder nor a .jsonl file" in said(tmp_path / "train.json")
        assert "is not there: a set is" in said(tmp_path / "nothing")
        folder = write(tmp_path / "zoo")
        with pytest.raises(InputError, match=r"dev\.tsv is missing"):
            load_set(str(folder), NOWHERE, qrels="dev")


class TestFiles:
    def test_questions_alone(self, tmp_path: Path) -> None:
        path = write_cases(
            tmp_path,
            {"id": "a", "question": "When do owls hunt?", "answer": "at night",
             "answers": ["night"], "evidence": [EVIDENCE], "meta": {"lang": "en"}},
            {"question": "Do owls sing?", "answerable": False},
        )  # fmt: skip
        found = load_set(str(path), NOWHERE)
        owls, songs = found.questions
        assert (found.name, found.passages, found.qrels) == ("cases", (), {"a": {"d1": 1}})
        assert (owls.answers, owls.meta) == (("at night", "night"), {"lang": "en"})
        assert (songs.answerable, len(songs.id)) == (False, 16)
        check_spans(found.questions, {"d1": TEXT})
        with pytest.raises(InputError, match=r"The question 'a': the span .* is not the text"):
            check_spans(found.questions, {"d1": TEXT.upper()})
        with pytest.raises(InputError, match="document 'd1', which there is not"):
            check_spans(found.questions, {})

    @pytest.mark.parametrize(
        ("case", "fault"),
        [
            ({"_id": "q", "text": "?"}, "line 1: `question`: Field required"),
            ({"question": "?", "anwser": "x"}, "`anwser`: Extra inputs are not permitted"),
            ({"question": "?", "evidence": [{**EVIDENCE, "start": 0}]}, "cannot be the text of"),
            ({"question": "?", "evidence": [{**EVIDENCE, "end": 3}]}, "to 3 is no span of a text"),
            ({"question": "?", "evidence": [{"start": 0}]}, "`evidence.0.document_id`: Field"),
            ({"question": "?", "evidence": [{**EVIDENCE, "start": "0"}]}, "`evidence.0.start`: "),
            (
                {"question": "\ud800?"},
                "line 1: Invalid JSON: unexpected end of hex escape at column",
            ),
        ],
    )
    def test_what_is_wrong_is_named_with_its_line(
        self, tmp_path: Path, case: Any, fault: str
    ) -> None:
        assert fault in said(write_cases(tmp_path, case))

    @pytest.mark.parametrize(
        ("quote", "text", "same"),
        [
            ("Mail [e-mail] or [phone].", "Mail a@b.example or 555 1234.", True),
            ("Mail [e-mail] or [phone].", "Mail a@b.example, 555 1234.", False),
            ("Mail [e-mail] or [phone].", "Call a@b.example or 555 1234.", False),
            ("See [1].", "See [1].", True),
            ("Mail [e-mail] now.", "Mail now.", False),
            ("[x]" * 500 + "!", "y" * 5000, False),
        ],
    )
    def test_what_was_masked_may_be_anything(self, quote: str, text: str, same: bool) -> None:
        span = Span(document_id="d", start=0, end=len(text), quote=quote)
        assert (span_fault(span, text) is None) is same

    def test_the_one_that_is_documented(self, tmp_path: Path) -> None:
        shown = DOCS.read_text("utf-8").split("```json\n")[1].split("```")[0]
        found = load_set(str(write_cases(tmp_path, json.loads(shown))), NOWHERE)
        check_spans(found.questions, {"pep-8": PEP_8.read_text("utf-8")})

    def test_a_question_that_is_there_twice_and_none(self, tmp_path: Path) -> None:
        twice = write_cases(tmp_path, {"question": "Why?"}, {"question": "Why?"})
        assert "cases.jsonl, line 2: the id" in said(twice)
        assert "The set cases has no questions" in said(write_cases(tmp_path))

    def test_what_was_collected_of_live_answers(self, tmp_path: Path) -> None:
        quote = "Mail [e-mail] at night."
        text = "Mail jane.doe@corp.example at night."
        live = given("live", Scope(tenant="t", collection="c"), feedback=Feedback(rating="up"))
        content = {
            "question": "When?",
            "answer": "At night [1].",
            "citations": [{"document_id": "d1", "start": 0, "end": len(text), "quote": quote,
                           "support": 1.0}],
        }  # fmt: skip
        cases = collect([replace(live, content=content)], low=0.5, sample=0.0)
        found = load_set(str(write_cases(tmp_path, *cases)), NOWHERE)
        assert found.questions[0].answers == ("At night [1].",)
        assert found.qrels == {found.questions[0].id: {"d1": 1}}
        check_spans(found.questions, {"d1": text})  # whatever was masked
        with pytest.raises(InputError, match="not the text of its quote"):
            check_spans(found.questions, {"d1": text.replace("Mail", "Call")})


class TestLangfuse:
    @pytest.fixture
    def server(self) -> Iterator[LangfuseSets]:
        with langfuse_sets() as running:
            yield running

    @pytest.fixture
    def traces(self, server: LangfuseSets) -> TraceSettings:
        public, secret = KEYS
        return TraceSettings(
            langfuse_url=server.url, public_key=public, secret_key=SecretStr(secret)
        )

    def test_every_page_is_read(self, server: LangfuseSets, traces: TraceSettings) -> None:
        server.sets["a/b c"] = [
            {"id": f"i{n}", "input": f"Why {n}?"} for n in range(2 * AT_ONCE + 1)
        ]
        found = load_set("langfuse:a/b c", traces)
        assert [q.id for q in found.questions] == [f"i{n}" for n in range(2 * AT_ONCE + 1)]
        assert [page for name, page in server.asked] == [1, 2, 3]
        assert found.passages == ()

    def test_items_of_every_shape(self, server: LangfuseSets, traces: TraceSettings) -> None:
        server.sets["zoo"] = [
            {"id": "1", "input": "Why?", "expectedOutput": "So.", "metadata": {"lang": "en"}},
            {"id": "2", "input": {"question": "Who?"}, "expectedOutput": ["A", "B"],
             "metadata": {"evidence": [EVIDENCE], "lang": "de"}},
            {"id": "3", "input": "What?", "expectedOutput": {"answerable": False}},
            {"id": "4", "input": "Old?", "status": "ARCHIVED"},
        ]  # fmt: skip
        found = load_set("langfuse:zoo", traces)
        one, two, three = found.questions
        assert (one.text, one.answers, one.meta) == ("Why?", ("So.",), {"lang": "en"})
        assert (two.text, two.answers, two.meta) == ("Who?", ("A", "B"), {"lang": "de"})
        assert two.spans[0].quote == QUOTE
        assert (three.answers, three.answerable) == ((), False)
        assert found.qrels == {"2": {"d1": 1}}
        assert found.langfuse_id == "set-1"

    def test_what_is_wrong_is_said(self, server: LangfuseSets, traces: TraceSettings) -> None:
        server.sets |= {"odd": [{"id": "7", "input": {"query": "Why?"}}], "empty": []}
        assert "langfuse:odd, item 7: `question`: Field required" in said("langfuse:odd", traces)
        assert "The set empty has no questions" in said("langfuse:empty", traces)
        with pytest.raises(NotFoundError, match="has no data set 'none'"):
            load_set("langfuse:none", traces)
        wrong = traces.model_copy(update={"public_key": "pk-2"})
        with pytest.raises(ConfigError, match="refuses the keys"):
            load_set("langfuse:odd", wrong)
        server.body = b"<html>"
        with pytest.raises(UpstreamError, match="does not answer as Langfuse"):
            load_set("langfuse:odd", traces)

    def test_it_is_away(
        self, server: LangfuseSets, traces: TraceSettings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server.status = 500
        with pytest.raises(UpstreamError, match="answered 500"):
            load_set("langfuse:zoo", traces)
        gone = traces.model_copy(update={"langfuse_url": "http://127.0.0.1:1"})
        with pytest.raises(UpstreamError, match="cannot be reached"):
            load_set("langfuse:zoo", gone)
        for name in ("LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY"):
            monkeypatch.delenv(name, raising=False)
        with pytest.raises(ConfigError, match="wants both of its keys"):
            load_set("langfuse:zoo", NOWHERE)


class TestIrDatasets:
    """A data set of ir_datasets' own classes, of local files."""

    @pytest.fixture
    def registered(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        import ir_datasets

        monkeypatch.setattr(ir_datasets, "registry", ir_datasets.util.Registry())
        (tmp_path / "docs.tsv").write_text(f"d1\t{TEXT}\nd2\tNothing.\n")
        (tmp_path / "queries.tsv").write_text("q1\tWhen do owls hunt?\nq2\tUnjudged?\n")
        (tmp_path / "qrels").write_text("q1 0 d1 2\nq1 0 d2 0\n")
        parts = {
            "docs_tsv": str(tmp_path / "docs.tsv"),
            "queries_tsv": str(tmp_path / "queries.tsv"),
            "qrels_trec": str(tmp_path / "qrels"),
        }
        ir_datasets.registry.register("zoo/test", ir_datasets.create_dataset(**parts))
        parts.pop("qrels_trec")
        ir_datasets.registry.register("zoo", ir_datasets.create_dataset(**parts))
        return tmp_path

    @pytest.mark.usefixtures("registered")
    def test_it_is_read_by_its_name(self) -> None:
        found = load_set("irds:zoo/test", NOWHERE)
        assert found.name == "zoo/test"
        assert [(p.id, p.text) for p in found.passages] == [("d1", TEXT), ("d2", "Nothing.")]
        assert [(q.id, q.text) for q in found.questions] == [("q1", "When do owls hunt?")]
        assert found.qrels == {"q1": {"d1": 2, "d2": 0}}

    def test_what_is_wrong_is_said(self, registered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert "irds:zoo has no qrels" in said("irds:zoo")
        assert "ir_datasets knows no 'zoo/none'" in said("irds:zoo/none")
        (registered / "qrels").write_text("q1 0 d9 1\n")
        assert "judgement 1 (no document 'd9')" in said("irds:zoo/test")
        (registered / "docs.tsv").unlink()
        with pytest.raises(UpstreamError, match="irds:zoo/test cannot be fetched"):
            load_set("irds:zoo/test", NOWHERE)
        monkeypatch.setitem(sys.modules, "ir_datasets", None)
        with pytest.raises(ConfigError, match="pip install ir_datasets"):
            load_set("irds:zoo/test", NOWHERE)
