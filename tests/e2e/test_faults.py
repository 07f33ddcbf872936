"""Faults are bounded in number and size before they are made."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from eval.compare.gate_rules import read_rules
from eval.datasets.corpus import read_corpus
from eval.datasets.rows import CaseRow, parse
from rag.errors import InputError
from rag.text.validation_errors import FewUnknown, FirstFaults
from tests.servers import rag

MIB = 1 << 20
MANY = 100_000


class Item(FewUnknown):
    model_config = ConfigDict(extra="forbid")

    number: int


class Body(BaseModel):
    items: Annotated[list[Item], Field(min_length=1), FirstFaults()]


def faults_of(body: object, *, as_json: bool = False) -> list[tuple[tuple[int | str, ...], str]]:
    with pytest.raises(ValidationError) as caught:
        Body.model_validate_json(json.dumps(body)) if as_json else Body.model_validate(body)
    return [(fault["loc"], fault["msg"]) for fault in caught.value.errors()]


@pytest.mark.parametrize("as_json", [False, True])
def test_ten_faults_are_told_with_their_places(as_json: bool) -> None:
    items = [{"number": 1}] + [{"number": "x"}] * MANY
    faults = faults_of({"items": items}, as_json=as_json)
    assert [place for place, _ in faults] == [("items", i, "number") for i in range(1, 11)]
    assert faults[0][1] == "Input should be a valid integer, unable to parse string as an integer"
    assert faults[-1][1] == f"{faults[0][1]}; 99,990 more after it were not checked"


def test_fewer_faults_are_all_told() -> None:
    faults = faults_of({"items": [{"number": 1}, {}, {"number": 2}, {"number": "x"}]})
    assert [place for place, _ in faults] == [("items", 1, "number"), ("items", 3, "number")]
    assert "not checked" not in faults[-1][1]


def test_what_is_no_list_or_an_empty_one_is_told_as_ever() -> None:
    assert faults_of({"items": 1}) == [(("items",), "Input should be a valid list")]
    ((_, faults),) = faults_of({"items": []})
    assert faults == "List should have at least 1 item after validation, not 0"
    assert Body.model_validate({"items": [{"number": "7"}]}).items[0].number == 7


def test_a_great_many_unknown_fields_are_one_fault() -> None:
    ((place, faults),) = faults_of(
        {"items": [{"number": 1, **dict.fromkeys(map(str, range(MANY)))}]}
    )
    assert place == ("items", 0)
    assert faults.startswith("Value error, 100,000 of its fields are unknown: 0, 1, 2,")
    few = faults_of({"items": [{"number": 1, "a": 1, "b": 2}]})
    assert [place for place, _ in few] == [("items", 0, "a"), ("items", 0, "b")]
    ((_, faults),) = faults_of({"items": [dict.fromkeys(("x" * MIB, *map(str, range(20))))]})
    assert len(faults) < 1000


TOML = {
    "unknown": lambda: "".join(f"wrong_{i} = 1\n" for i in range(MANY)),
    "unknown-in-a-part": lambda: "[limits]\n" + "".join(f"w{i} = 1\n" for i in range(MANY)),
    "values": lambda: "[[fallbacks]]\nkind = 1\n" * 20_000,
    "long": lambda: f'[retrieval]\ndepth = "{"x" * MIB}"\n',
    "long-name": lambda: f"{'x' * MIB} = 1\n",
}


@pytest.mark.parametrize("name", TOML)
def test_settings_full_of_faults(tmp_path: Path, name: str) -> None:
    (tmp_path / "rag.toml").write_text(TOML[name]())
    ran = rag("status", data=tmp_path / "data")
    assert ran.returncode == 2
    assert len(ran.stderr) < 5000
    assert len(ran.stderr.splitlines()) <= 11
    if name in ("unknown", "unknown-in-a-part"):
        assert ran.stderr.splitlines()[-1] == "And 99,990 more."


def peak_of(work: Callable[[], object]) -> int:
    """Returns the peak memory of Python objects in bytes."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


ROWS = {
    "evidence": '{"question":"a","evidence":[' + ",".join(["1"] * MANY) + "]}",
    "answers": '{"question":"a","answers":[' + ",".join(["1"] * MANY) + "]}",
    "unknown": '{"question":"a",' + ",".join(f'"x{i}":1' for i in range(MANY)) + "}",
}


@pytest.mark.parametrize("name", ROWS)
def test_a_line_full_of_faults(name: str) -> None:
    def work() -> None:
        with pytest.raises(InputError) as caught:
            parse(CaseRow, ROWS[name], "cases.jsonl, line 1")
        assert len(str(caught.value)) < 500

    assert peak_of(work) < 30 * MIB


def test_rules_full_of_faults(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text("[[rule]]\nmeasure = 1\n" * 2000)
    with pytest.raises(InputError) as caught:
        read_rules(path)
    assert len(str(caught.value).splitlines()) <= 11
    assert "rules.toml, line " in str(caught.value)


def test_judgements_full_of_faults(tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_text('{"_id":"d","text":"a"}\n')
    (tmp_path / "queries.jsonl").write_text('{"_id":"q","text":"a"}\n')
    (tmp_path / "qrels").mkdir()
    lines = "".join(f"q\t{'x' * 1000}{i}\t1\n" for i in range(20_000))
    (tmp_path / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{lines}")
    with pytest.raises(InputError) as caught:
        read_corpus(tmp_path)
    assert len(str(caught.value)) < 3000
    assert "more" in str(caught.value)
