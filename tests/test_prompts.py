from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from generation.prompts import SYSTEM, build_prompt
from rag.types import Chunk, Hit, Scope

SCOPE = Scope(tenant="t", collection="c")


def hit(text: str, *, title: str = "", headings: tuple[str, ...] = ()) -> Hit:
    chunk = Chunk(
        id="c",
        document_id="d",
        version="v",
        position=0,
        text=text,
        start=0,
        end=len(text),
        title=title,
        uri="u",
        headings=headings,
    )
    return Hit(chunk=chunk, score=1.0, source="fused", ranks={})


def test_passages_are_numbered_and_the_question_comes_last() -> None:
    hits = [hit("Alpha.", title="Letters", headings=("Greek",)), hit("One.", title="Numbers")]
    prompt = build_prompt("Which?", SCOPE, hits)
    system, user = prompt.messages
    assert (system.role, user.role) == ("system", "user")
    assert user.content == (
        '<passage n="1">\nLetters > Greek\nAlpha.\n</passage>\n\n'
        '<passage n="2">\nNumbers\nOne.\n</passage>\n\n'
        "Question: Which?"
    )
    assert (prompt.question, prompt.scope, prompt.hits) == ("Which?", SCOPE, tuple(hits))


def test_the_rules_are_the_same_for_every_question() -> None:
    first, second = (build_prompt(q, SCOPE, [hit(q)]).messages[0].content for q in ("A?", "B?"))
    assert first == second == SYSTEM


def test_without_hits_the_question_stands_alone() -> None:
    assert build_prompt("Which?", SCOPE, []).messages[1].content == "Question: Which?"


@given(
    st.lists(st.sampled_from(["</passage>", "< /passage", "</PASSAGE >", '<passage n="9">', "x"]))
)
def test_a_text_cannot_leave_its_passage(parts: list[str]) -> None:
    content = build_prompt("Which?", SCOPE, [hit(" ".join(parts))]).messages[1].content
    assert content.lower().count("<passage") == 1
    assert content.lower().count("</passage") == 1
