from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generation.drafts.draft import Draft
from generation.drafts.json_draft import JsonDraft
from generation.sanitizing import addresses
from rag.types import Citation, Delta, Hit
from tests.fakes import CharacterSupport, make_chunk

FACT = "Watt patented an engine in 1769."
HITS = [
    Hit(chunk=make_chunk(text, position=i), score=1.0, source="fused", ranks={})
    for i, text in enumerate([FACT, "A garden."])
]


def drafted(kind: type[Draft | JsonDraft], text: str) -> tuple[Draft | JsonDraft, list[Any]]:
    """Returns the finished draft and its events."""

    async def write() -> tuple[Draft | JsonDraft, list[Any]]:
        draft = kind(HITS, CharacterSupport())
        events: list[Any] = []
        for start in range(0, len(text), 3):
            events += await draft.take(Delta(text=text[start : start + 3], model="m"))
        return draft, events + await draft.finish()

    return asyncio.run(write())


def test_a_text_goes_out_as_it_comes() -> None:
    draft, events = drafted(Draft, f"{FACT} [1] Cheese [2]. <b>")
    assert draft.text == f"{FACT} [1] Cheese. &lt;b>"
    assert "".join(event for event in events if isinstance(event, str)) == draft.text
    assert [(c.marker, draft.text[c.marker_start : c.marker_end]) for c in draft.citations] == [
        (1, "[1]")
    ]
    assert (draft.unsupported, draft.uncited) == ((2,), ("Cheese.", "&lt;b>"))


def test_each_string_of_json_is_checked_and_safe() -> None:
    content = {
        "[1]": [1, [2], {"x": f"{FACT} [1]"}],
        "wrong": "Cheese [2].",
        "quoted": f'He said: "{FACT}" [1]',
        "live": "<script> ![x](http://evil.example/)",
    }
    draft, events = drafted(JsonDraft, json.dumps(content, indent=1))
    assert json.loads(draft.text) == {
        "[1]": [1, [2], {"x": f"{FACT} [1]"}],
        "wrong": "Cheese.",
        "quoted": f'He said: "{FACT}" [1]',
        "live": "&lt;script> ![x] ((link removed))",
    }
    assert events == [draft.text, *draft.citations]
    assert [c.quote for c in draft.citations] == [FACT, FACT]
    assert {draft.text[c.marker_start : c.marker_end] for c in draft.citations} == {"[1]"}
    assert draft.unsupported == (2,)
    assert draft.uncited == ()


def test_the_passages_are_read_once_however_many_strings_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[object] = []

    def noted(hits: Sequence[Hit]) -> frozenset[str]:
        read.append(hits)
        return addresses(hits)

    monkeypatch.setattr("generation.drafts.json_draft.addresses", noted)
    drafted(JsonDraft, json.dumps(["www.evil.example"] * 9))
    assert len(read) == 1


def test_without_an_answer_nothing_goes_out() -> None:
    draft, events = drafted(JsonDraft, "")
    assert (draft.text, events) == ("", [])


PLAIN = st.text().filter(lambda text: not set("[<hfw") & set(text.lower()) and "](" not in text)
JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | PLAIN,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON, st.booleans())
def test_what_needs_no_check_stays_the_same_json(value: Any, ascii_only: bool) -> None:
    draft, _ = drafted(JsonDraft, json.dumps(value, ensure_ascii=ascii_only))
    assert json.loads(draft.text) == value


STRINGS = st.lists(
    st.sampled_from([FACT, " [1]", "[2]", "<img", "](", "\\", '"', "\n", "ü", "http://x"])
)


@given(STRINGS.map("".join))
def test_whatever_is_taken_out_json_stays_json(text: str) -> None:
    draft, _ = drafted(JsonDraft, json.dumps({"said": text}))
    alone, _ = drafted(Draft, text)
    assert json.loads(draft.text) == {"said": alone.text}
    for citation in draft.citations:
        assert isinstance(citation, Citation)
        assert draft.text[citation.marker_start : citation.marker_end] == "[1]"


@pytest.mark.parametrize("escaped", ["\\ud800", "a\\udfffb"])
def test_half_a_character_can_be_sent(escaped: str) -> None:
    draft, _ = drafted(JsonDraft, f'["{escaped} engine of the past", "Watt is the {escaped} [2]."]')
    assert "?" in draft.text.encode().decode()
    assert all("?" in sentence.encode().decode() for sentence in draft.uncited)
    assert len(draft.uncited) == 2
