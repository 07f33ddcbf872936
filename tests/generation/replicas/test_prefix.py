from __future__ import annotations

from generation.prompts import PromptTemplate
from generation.replicas.prefix import prefix_key
from rag.types import Hit, Message
from tests.fakes import make_chunk

FIRST, SECOND, THIRD = (
    Hit(chunk=make_chunk(f"{word} " * 60), score=1.0, source="fused", ranks={})
    for word in ("first", "second", "third")
)


def key(question: str, *hits: Hit) -> bytes:
    return prefix_key(PromptTemplate().messages(question, hits))


def test_prompts_with_the_same_first_passage_have_the_same_key() -> None:
    assert key("Why?", FIRST, SECOND) == key("When was it, and where?", FIRST, THIRD)


def test_the_order_of_the_passages_counts() -> None:
    assert key("Why?", FIRST, SECOND) != key("Why?", SECOND, FIRST)


def test_other_rules_are_another_prefix() -> None:
    user = Message(role="user", content="Why?")
    keys = [prefix_key((Message(role="system", content=rules), user)) for rules in ("a", "b")]
    assert keys[0] != keys[1] != prefix_key((user,))


def test_a_conversation_that_goes_on_keeps_its_key() -> None:
    first = [Message(role="system", content="a"), Message(role="user", content="Why?")]
    more = [Message(role="assistant", content="So."), Message(role="user", content="And?")]
    assert prefix_key(first) == prefix_key(first + more)


def test_half_a_character_has_a_key() -> None:
    assert prefix_key((Message(role="user", content="\ud83d"),))
