"""Lists and tables as answers, from a file to the citation."""

from __future__ import annotations

from pathlib import Path

import pytest

from generation.drafts.draft import Draft
from generation.extractive import ExtractiveGenerator
from generation.grounding.answerability import Judge
from generation.grounding.calibration import load_calibration
from generation.grounding.evidence import EvidenceFinder
from ingest.chunkers.strategies import SectionChunker
from ingest.readers.registry import read
from rag.api.responses import CitationOut, citation_json
from rag.types import Cell, Citation, Document, Hit, Prompt, Scope
from retrieval.bm25 import Bm25Encoder
from retrieval.embedders.embedder import BertEmbedder
from tests.fakes import CharacterSupport
from tests.generation.test_extractive import EqualIdf

pytestmark = pytest.mark.anyio

CASES = Path(__file__).parents[1] / "data" / "cases"
SCOPE = Scope(tenant="t", collection="c")


async def ask(embedder: BertEmbedder, question: str, *files: tuple[str, bytes]) -> Draft:
    """Answers from all chunks of the files, in their order; each citation is checked."""
    documents = {
        name: read(data, id=name, uri=f"file:///{name}", name=name) for name, data in files
    }
    chunker = SectionChunker(embedder.count_tokens)
    hits = [
        Hit(chunk=chunk, score=1.0, source="fused", ranks={"dense": 1})
        for document in documents.values()
        for chunk in chunker.chunk(document)
    ]
    finder = EvidenceFinder(embedder=embedder, encoder=Bm25Encoder(), index=EqualIdf())
    judge = Judge(finder=finder, calibration=load_calibration(), threshold=0.0)
    draft = Draft(hits, CharacterSupport())
    prompt = Prompt(question=question, scope=SCOPE, hits=tuple(hits))
    async for delta in ExtractiveGenerator(judge).stream(prompt):
        await draft.take(delta)
    await draft.finish()
    for citation in draft.citations:
        check(citation, documents[citation.document_id])
    assert draft.uncited == ()
    assert draft.unsupported == ()
    return draft


def check(citation: Citation, document: Document) -> None:
    assert document.text[citation.start : citation.end] == citation.quote
    assert citation.support == 1.0
    sent = CitationOut.model_validate(citation_json(citation))
    assert [(cell.column, cell.value) for cell in sent.cells] == [
        (cell.column, cell.value) for cell in citation.cells
    ]
    assert all(cell.value in citation.quote.replace("\\|", "|") for cell in citation.cells)


def case(path: str) -> tuple[str, bytes]:
    return Path(path).name, (CASES / path).read_bytes()


@pytest.mark.parametrize("kind", ["md", "html"])
@pytest.mark.parametrize(
    ("name", "question", "items"),
    [
        ("soup", "Which allergens does the soup contain?", ["celery", "mustard", "milk"]),
        ("ppe", "What must visitors wear?", ["helmet", "goggles", "ear plugs", "steel shoes"]),
        ("contacts", "Who are the on-call contacts?", ["Lund", "Pike", "Voss"]),
        ("stop", "How do I stop the press in an emergency?", ["red button", "shift lead"]),
        ("tools", "Which tools does the field kit hold?", ["torque", "bore scope", "hex keys"]),
        ("doc", "What must I bring to the gate?", ["delivery note", "safety pass"]),
    ],
)
async def test_a_list_is_quoted_whole(
    embedder: BertEmbedder, kind: str, name: str, question: str, items: list[str]
) -> None:
    answer = await ask(embedder, question, case(f"19/{name}.{kind}"))
    assert all(item in answer.text for item in items)
    assert any(all(item in c.quote for item in items) for c in answer.citations)


@pytest.mark.parametrize(
    ("name", "text", "question", "items"),
    [
        (
            "care.txt",
            "Plants.\n\nBefore winter, bring these indoors:\n1. Lemon tree\n2. Oleander\n3. Fig\n",
            "What has to be brought indoors before winter?",
            ["Lemon tree", "Oleander", "Fig"],
        ),
        (
            "koffer.md",
            "# Koffer\n\nIn den Notfallkoffer gehören:\n\n* Verbandszeug\n* Schere\n* Pflaster\n",
            "Was gehört in den Notfallkoffer?",
            ["Verbandszeug", "Schere", "Pflaster"],
        ),
        (
            "ports.html",
            "<h1>Ports</h1><p>The ferry calls at:</p><ol><li>Skerra</li><li>Ulva</li></ol>",
            "Which ports does the ferry call at?",
            ["Skerra", "Ulva"],
        ),
        (
            "keys.md",
            "# Holders of keys\n\n- Anna Holt\n- Bo Marsh\n- Cem Ada\n\n# Other\n\nDoors are red.",
            "Who are the holders of keys?",
            ["Anna Holt", "Bo Marsh", "Cem Ada"],
        ),
    ],
)
async def test_other_lists_are_quoted_whole(
    embedder: BertEmbedder, name: str, text: str, question: str, items: list[str]
) -> None:
    answer = await ask(embedder, question, (name, text.encode()))
    assert all(item in answer.text for item in items)


async def test_a_list_goes_on_in_the_next_chunk(embedder: BertEmbedder) -> None:
    items = "".join(f"- valve {n} of the northern line\n" for n in range(40))
    text = f"# Valves\n\nCheck these valves every month:\n\n{items}"
    answer = await ask(embedder, "Which valves are checked every month?", ("v.md", text.encode()))
    assert len(answer.citations) > 1
    assert all(f"valve {n} of" in answer.text for n in range(40))
    assert "more)" not in answer.text


async def test_a_list_that_is_cut_says_so(embedder: BertEmbedder) -> None:
    items = "".join(f"- valve {n} of the northern line, by the bridge\n" for n in range(60))
    text = f"# Valves\n\nCheck these valves every month:\n\n{items}"
    answer = await ask(embedder, "Which valves are checked every month?", ("v.md", text.encode()))
    shown = sum(f"valve {n} of" in answer.text for n in range(60))
    assert 20 < shown < 60
    assert f"({60 - shown} more)" in answer.text


async def test_numbered_sections_are_no_list(embedder: BertEmbedder) -> None:
    text = "1. Budget\nThe budget is £7 million. It was approved.\n2. Hiring\nTwo buyers are hired."
    answer = await ask(embedder, "How high is the budget?", ("minutes.txt", text.encode()))
    assert "£7 million" in answer.text
    assert "Hiring" not in answer.text


async def test_a_lead_in_alone_is_no_answer(embedder: BertEmbedder) -> None:
    text = "# Gate\n\nThe code of the gate is:\n\nIt is 4711, as on the card.\n"
    answer = await ask(embedder, "What is the code of the gate?", ("gate.md", text.encode()))
    assert "4711" in answer.text


def noise(number: int) -> int:
    html = (CASES / "02/pumps.html").read_text()
    return int(html.split(f"<td>PX-{number}</td>")[1].split("<td>")[3].split("</td>")[0])


@pytest.mark.parametrize(
    ("kind", "noise_column"), [("html", "Noise (dB)"), ("md", "Noise (dB)"), ("rst", "Noise")]
)
@pytest.mark.parametrize("number", [300, 317, 345, 379])
async def test_a_row_is_quoted_with_the_names_of_its_columns(
    embedder: BertEmbedder, kind: str, noise_column: str, number: int
) -> None:
    question = f"What is the noise of the PX-{number} pump in dB?"
    answer = await ask(embedder, question, case(f"02/pumps.{kind}"))
    (citation,) = answer.citations
    assert f"{noise_column}: {noise(number)} [" in answer.text
    assert citation.cells[0] == Cell(column="Model", value=f"PX-{number}")
    assert citation.cells[3] == Cell(column=noise_column, value=str(noise(number)))
    assert f"PX-{number} | " in citation.quote


@pytest.mark.parametrize(
    ("name", "text", "question", "rows"),
    [
        (
            "fees.csv",
            "Member,Court,Fee\nJunior,indoor,4 EUR\nAdult,indoor,9 EUR\nAdult,grass,12 EUR\n",
            "What is the fee for a junior member?",
            ["Member: Junior; Court: indoor; Fee: 4 EUR"],
        ),
        (
            "shifts.csv",
            "Day,Shift,Lead\nMonday,early,Okoro\nMonday,late,Brandt\nFriday,early,Sato\n",
            "Who are the leads on Monday?",
            ["Day: Monday; Shift: early; Lead: Okoro", "Day: Monday; Shift: late; Lead: Brandt"],
        ),
        (
            "rooms.html",
            "<table><tr><th>Room</th><th>Seats</th></tr><tr><td>Elbe</td><td>12</td></tr>"
            "<tr><td>Weser</td><td>30</td></tr></table>",
            "How many seats does the room Weser have?",
            ["Room: Weser; Seats: 30"],
        ),
    ],
)
async def test_other_tables(
    embedder: BertEmbedder, name: str, text: str, question: str, rows: list[str]
) -> None:
    answer = await ask(embedder, question, (name, text.encode()))
    assert [line.rpartition(" [")[0] for line in answer.text.split("\n")] == rows


async def test_rows_that_match_beyond_a_bound_are_counted(embedder: BertEmbedder) -> None:
    lines = "".join(f"Port {n},open\n" for n in range(14)) + "Port 99,closed\n"
    text = f"Port,State\n{lines}"
    answer = await ask(embedder, "Which ports are open?", ("ports.csv", text.encode()))
    assert answer.text.count("State: open") == 10
    assert answer.text.endswith(" (4 more)")
    assert "closed" not in answer.text


LEAVE = (
    "# Leave\n\n| Kind of leave | Days per year | Paid |\n|---|---|---|\n"
    "| Annual leave | 27 | yes |\n"
    "| Parental leave | 20 | yes |\n| Study leave | 5 | yes |\n| Sabbatical | up to 90 | no |\n"
    "| Moving house | 1 | yes |\n\nUnused leave must be taken by 31 March.\n"
)
RAEUME = "Raum,Plätze,Etage\nWeser,30,1\nElbe,12,1\nMain,8,2\nSpree,20,3\nHavel,6,3\nOder,16,2\n"
SALLES = "Machine,Vitesse,Atelier\nFraiseuse,1200,A\nTour,900,A\nPerceuse,2400,B\nScie,3000,C\n"


@pytest.mark.parametrize(
    ("name", "text", "question", "count"),
    [
        ("leave.md", LEAVE, "Which kinds of leave are there?", 5),
        ("leave.md", LEAVE, "List the kinds of leave.", 5),
        ("raeume.csv", RAEUME, "Welche Räume mit Plätzen gibt es?", 6),
        ("machines.csv", SALLES, "Quelles machines y a-t-il dans l'atelier ?", 4),
    ],
)
async def test_all_rows_answer_a_question_for_the_table_itself(
    embedder: BertEmbedder, name: str, text: str, question: str, count: int
) -> None:
    answer = await ask(embedder, question, (name, text.encode()))
    assert len([line for line in answer.text.split("\n") if ": " in line]) == count


async def test_a_question_for_one_row_gets_that_row(embedder: BertEmbedder) -> None:
    answer = await ask(embedder, "Which days are there for study leave?", ("l.md", LEAVE.encode()))
    assert "Study leave; Days per year: 5" in answer.text
    assert "Moving house" not in answer.text


async def test_all_rows_of_a_long_table_are_bounded(embedder: BertEmbedder) -> None:
    rows = "".join(f"Berth {n},{n + 5} m\n" for n in range(25))
    answer = await ask(
        embedder,
        "Which mooring places are there?",
        ("b.csv", f"Mooring place,Length\n{rows}".encode()),
    )
    assert answer.text.count("Mooring place: ") == 10
    assert answer.text.count(" (15 more)") == 1
