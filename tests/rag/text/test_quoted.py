"""Quoted text comes after what is new, and a reply has the last word."""

from __future__ import annotations

from typing import Any

import pytest

from rag.text.quoted import SIGNATURE, Overtaken, is_quoted, quoted_last
from rag.types import Chunk, Hit
from tests.fakes import make_chunk

QUESTION = "At which speed does the pump in hall 4 run?"
OLD = "The pump in hall 4 runs at 1450 rpm."
NEW = "The pump in hall 4 runs at 960 rpm since Monday."


def said(text: str, title: str, day: int, **fields: Any) -> Chunk:
    meta = {"sent": f"2024-03-{day:02}T09:00:00+01:00", "author": "Ana Lind <ana@example.org>"}
    return make_chunk(text, title=title, meta=meta | fields.pop("meta", {}), **fields)


def hits(*chunks: Chunk) -> list[Hit]:
    return [Hit(chunk=c, score=-n, source="fused", ranks={}) for n, c in enumerate(chunks)]


@pytest.mark.parametrize("prefix", ["Re: ", "AW: ", "RE: Re: ", "SV: ", "回复：", "Re[2]: "])
def test_quoted_text_comes_below_the_new_text_of_its_conversation(prefix: str) -> None:
    quoted = said("Old.", f"{prefix}Pump", 5, headings=("From: Bo", "Quoted message: Ana wrote:"))
    signature = said("Tel. 555", "Other", 5, headings=("From: Bo", SIGNATURE))
    other, new, last = said("x", "Order", 4), said("New.", "Pump", 4), said("y", "Order", 3)
    ordered = [h.chunk for h in quoted_last(hits(quoted, signature, other, new, last))]
    assert ordered == [signature, other, new, quoted, last]


def test_a_word_of_the_subject_that_ends_like_a_reply_is_no_reply() -> None:
    quoted = said("Old.", "Re: Hardware: prices", 5, headings=("Quoted message",))
    new = said("New.", "Hardware: prices", 4)
    assert [h.chunk for h in quoted_last(hits(quoted, new))] == [new, quoted]


def overtaken(question: str, *chunks: Chunk) -> list[bool]:
    found = Overtaken(question, chunks)
    return [(place, 0, len(chunk.text)) in found for place, chunk in enumerate(chunks)]


def test_a_reply_overtakes_what_was_said_before_and_what_is_quoted() -> None:
    first, reply = said(OLD, "Pump", 4), said(NEW, "Re: Pump", 5)
    quoted = said(OLD, "Re: Pump", 6, headings=("Quoted message",))
    assert overtaken(QUESTION, first, reply, quoted) == [True, False, True]
    later = said("The pump in hall 4 runs at 700 rpm.", "Re: Pump", 7)
    assert overtaken(QUESTION, reply, later, first) == [True, False, True]


@pytest.mark.parametrize(
    ("first", "reply"),
    [
        (said(OLD, "Pump", 5), said(NEW, "Re: Pump", 4)),
        (said(OLD, "Pump", 4), said(NEW, "Pump", 5)),
        (said(OLD, "Pump", 4), said(NEW, "Re: Valve", 5)),
        (said(OLD, "Pump", 4), said("The pump in hall 5 runs at 960 rpm.", "Re: Pump", 5)),
        (said(OLD, "Pump", 4), said("Thanks, noted.", "Re: Pump", 5)),
        (said(OLD, "Pump", 4), said(OLD, "Re: Pump", 5)),
        (said(OLD, "Pump", 4), said(NEW, "Re: Pump", 5, meta={"sent": "soon"})),
        (said(OLD, "Pump", 4), said(NEW, "Re: Pump", 5, meta={"sent": 5})),
        (said(OLD, "Pump", 4), said(NEW, "Re: Pump", 5, headings=(SIGNATURE,))),
    ],
    ids=[
        "earlier",
        "no reply",
        "another",
        "elsewhere",
        "thanks",
        "same",
        "word",
        "number",
        "below",
    ],
)
def test_nothing_else_overtakes(first: Chunk, reply: Chunk) -> None:
    assert overtaken(QUESTION, first, reply) == [False, False]


def test_a_question_about_what_somebody_said_is_answered_with_that() -> None:
    chunks = said(OLD, "Pump", 4), said(NEW, "Re: Pump", 5)
    assert overtaken("Which speed did Ana report for the pump in hall 4?", *chunks)[0] is False


def test_the_signatures_of_a_contract_are_no_mail_s() -> None:
    assert not is_quoted(make_chunk("Signed by both.", headings=("Contract", "Signatures")))
    assert not is_quoted(make_chunk("Signed.", headings=("Signature",)))
