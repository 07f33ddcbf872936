"""`rag eval claims` on the shipped examples."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from eval.offline.claims_check import Checked, summarised
from generation.grounding.claims import Verdict
from tests.places import PEPS
from tests.servers import RAG, Json, rag

ORDERS = "Order | Customer | Pieces\nSO-1 | Port of Leeds | 12\nSO-2 | Port of Hull | 7\n"
QUESTIONS = 24


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with some PEPs and a table."""
    folder = tmp_path_factory.mktemp("claims")
    (folder / "orders.txt").write_text(ORDERS)
    peps = [PEPS / f"pep-{number}.rst" for number in ("0008", "0020", "0440", "0572")]
    ingested = rag("ingest", *peps, folder / "orders.txt", data=folder / "data")
    assert ingested.returncode == 0, ingested.stderr
    return folder / "data"


def claims(data: Path, out: Path, *options: str, code: int = 0) -> Json:
    ran = rag("eval", "claims", "--out", out, "--json", *options, data=data)
    assert ran.returncode == code, ran.stdout + ran.stderr
    told: Json = json.loads(ran.stdout or ran.stderr)
    return told


def test_claims_of_the_examples(data: Path, tmp_path: Path) -> None:
    told = claims(data, tmp_path / "one.jsonl", "--questions", str(QUESTIONS))
    assert (told["documents"], told["statements"]) == (5, QUESTIONS)
    lines = [json.loads(line) for line in (tmp_path / "one.jsonl").read_text().splitlines()]
    kinds = {row["kind"]: row for row in told["kinds"]}
    assert {kind: row["claims"] for kind, row in kinds.items()} == Counter(
        line["kind"] for line in lines
    )
    assert kinds["as written"]["claims"] == kinds["elsewhere"]["claims"] == QUESTIONS
    assert kinds["row"]["claims"] == kinds["row as a sentence"]["claims"] == 2
    for kind, row in kinds.items():
        verdict = "removed" if row["supported"] else "shown"
        assert row["wrong"] == sum(
            line["kind"] == kind and line["verdict"] == verdict for line in lines
        )
        assert 0 <= row["low"] <= row["share"] <= row["high"] <= 1
    assert kinds["number"]["wrong"] == 0
    assert all(line["objection"] == "figure" for line in lines if line["kind"] == "number")
    shown = [line for line in lines if line["kind"] == "as written" and line["verdict"] == "shown"]
    assert len(shown) > QUESTIONS / 2
    assert all(line["objection"] is None for line in shown)
    again = claims(data, tmp_path / "again.jsonl", "--questions", str(QUESTIONS))
    assert again["kinds"] == told["kinds"]
    more = [json.loads(line) for line in (tmp_path / "again.jsonl").read_text().splitlines()]
    # What is embedded together depends on the time, and moves supports in 8 bits a little: of two
    # objections to a claim, either may come first.
    varying = ("support", "objection", "missing")
    for one, other in zip(lines, more, strict=True):
        assert {k: v for k, v in one.items() if k not in varying} == {
            k: v for k, v in other.items() if k not in varying
        }


def test_what_it_prints_and_refuses(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "claims.jsonl"
    ran = rag("eval", "claims", "--out", out, "--questions", "2", data=data, command=RAG)
    assert ran.returncode == 0, ran.stderr
    first, *_, last = ran.stdout.splitlines()
    assert first.split() == [
        "supported:",
        "removed",
        "claims",
        "wrong",
        "share",
        "95",
        "%",
        "interval",
    ]
    assert last == f"The claims, made of 2 sentences and rows (documents: 5), are in {out}."
    assert "is there already" in claims(data, out, code=2)["error"]["message"]
    nowhere = claims(data, tmp_path / "no" / "claims.jsonl", code=2)
    assert "is no folder" in nowhere["error"]["message"]
    missing = claims(data, tmp_path / "none.jsonl", "--collection", "none", code=2)
    assert missing["error"]["code"] == "unknown_collection"
    assert not (tmp_path / "none.jsonl").exists()


def test_a_table_alone(tmp_path: Path) -> None:
    (tmp_path / "orders.txt").write_text(ORDERS)
    assert rag("ingest", tmp_path / "orders.txt", data=tmp_path / "data").returncode == 0
    told = claims(tmp_path / "data", tmp_path / "claims.jsonl")
    kinds = {row["kind"]: row for row in told["kinds"]}
    assert kinds["elsewhere"]["wrong"] == kinds["row"]["wrong"] == 0
    (tmp_path / "hi.txt").write_text("Hi\n")
    assert rag("ingest", tmp_path / "hi.txt", data=tmp_path / "hi").returncode == 0
    refused = claims(tmp_path / "hi", tmp_path / "hi.jsonl", code=2)
    assert "no sentences of prose" in refused["error"]["message"]


def test_a_kind_counts_what_is_judged_wrongly() -> None:
    shown, refused = (
        Verdict(support=1.0, passages=(1,)),
        Verdict(support=0.1, passages=(1,), objection="support"),
    )
    checked = [
        Checked(kind=kind, text="t", document_id="d", verdict=verdict)
        for kind, verdict in (
            *(("as written", shown), ("as written", refused), ("as written", None)),
            *(("number", shown), ("number", refused), ("number", None), ("number", refused)),
        )
    ]
    as_written, number = summarised(checked)
    assert (as_written["supported"], as_written["wrong"], as_written["claims"]) == (True, 2, 3)
    assert (number["supported"], number["wrong"], number["share"]) == (False, 1, 0.25)
    assert checked[2].to_json()["objection"] == "declined"
