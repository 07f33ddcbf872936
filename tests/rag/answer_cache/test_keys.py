"""Everything that an answer depends on changes its key, and nothing else does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.answer_cache.answer_keys import key_of
from rag.build.answer_cache import fingerprint_of
from rag.settings.tree import load_settings
from rag.types import ChatTask, Condition, Message, Query, SamplingOverrides, Scope

SCOPE = Scope(tenant="acme", collection="handbook", readers=frozenset({"public", "user:anna"}))
OTHERS: Mapping[str, list[Any]] = {
    "text": ["Why not?", "why?", "Why"],
    "scope": [replace(SCOPE, tenant="other"), replace(SCOPE, collection="other")],
    "top_k": [3],
    "where": [
        (Condition(field="year", op="eq", value=1),),
        (Condition(field="year", op="eq", value="1"),),
        (Condition(field="year", op="gt", value=1),),
        (Condition(field="year", op="in", value=(1, 2)),),
    ],
    "history": [
        (Message(role="user", content="Why?"),),
        (Message(role="assistant", content="Why?"),),
        (Message(role="user", content="Why"), Message(role="user", content="?")),
    ],
    "sampling": [
        SamplingOverrides(max_tokens=7),
        SamplingOverrides(temperature=0.5),
        SamplingOverrides(top_p=0.5),
        SamplingOverrides(seed=1),
        SamplingOverrides(stop=("a", "b")),
        SamplingOverrides(stop=("ab",)),
        SamplingOverrides(schema={"type": "object"}),
    ],
    "claims": ["off", "mark", "strict"],
}
NOT_IN_KEY: Mapping[str, list[Any]] = {
    "degraded": [("variant: new is not available",)],
    "tags": [("anything",)],  # but those that a route names
    "priority": ["batch"],
    "task": [ChatTask(kind="title", messages=())],  # never looked up
    "fresh": [True],
}


def key(query: Query, **changed: Any) -> tuple[str, str]:
    given_: dict[str, Any] = {
        "version": "v1",
        "words": frozenset({"public"}),
        "fingerprint": "f",
    } | changed
    made = key_of(query, **given_)
    return made.group, made.answer


def test_each_field_changes_it() -> None:
    query = Query(text="Why?", scope=SCOPE)
    assert set(OTHERS) | set(NOT_IN_KEY) == {field.name for field in fields(Query)}
    assert {field.name for each in OTHERS["sampling"] for field in fields(each)} == {
        field.name for field in fields(SamplingOverrides)
    }
    variants = [query, *(replace(query, **{n: v}) for n, values in OTHERS.items() for v in values)]
    keys = [key(each) for each in variants]
    keys += [
        key(query, version="v2"),
        key(query, words=frozenset({"public", "user:anna"})),
        key(query, words=frozenset()),
        key(query, words=None),
        key(query, fingerprint="g"),
        key(replace(query, tags=("chat", "x")), tags={"chat"}),
    ]
    assert len({answer for _, answer in keys}) == len(keys)
    groups = {group for group, _ in keys}
    assert len(groups) == len(keys) - len(OTHERS["text"])


def test_the_rest_does_not() -> None:
    query = Query(text="Why?", scope=SCOPE)
    for name, values in NOT_IN_KEY.items():
        for value in values:
            assert key(replace(query, **{name: value})) == key(query)
    conditions = OTHERS["where"][0] + OTHERS["where"][2]
    assert key(replace(query, where=conditions)) == key(replace(query, where=conditions[::-1]))
    # The words decide, and not who has them.
    assert key(replace(query, scope=replace(SCOPE, readers=frozenset({"user:b"})))) == key(query)
    assert key(replace(query, text=" Why? \n")) == key(query)
    assert key(replace(query, text="Cafe\u0301?")) == key(replace(query, text="Café?"))


@given(
    st.lists(st.tuples(st.sampled_from(["user", "assistant"]), st.text()), max_size=4),
    st.lists(st.tuples(st.sampled_from(["user", "assistant"]), st.text()), max_size=4),
)
def test_no_two_conversations_share_it(
    one: list[tuple[Any, str]], other: list[tuple[Any, str]]
) -> None:
    def asked(turns: list[tuple[Any, str]]) -> Query:
        history = tuple(Message(role=role, content=text) for role, text in turns)
        return Query(text="Why?", scope=SCOPE, history=history)

    assert (key(asked(one)) == key(asked(other))) == (one == other)


@pytest.mark.parametrize(
    "changed",
    [
        {"retrieval": {"depth": 77}},
        {"reranker": {"kind": "none"}},
        {"citations": {"claims": "off"}},
        {"generator": {"threshold": 0.4}},
        {"generator": {"kind": "openai", "base_url": "http://x/v1", "model": "a"}},
        {"generator": {"kind": "openai", "base_url": "http://x/v1", "model": "b"}},
        {"profile": "fast"},
    ],
)
def test_settings_that_change_answers_change_the_fingerprint(changed: dict[str, Any]) -> None:
    plain = fingerprint_of(load_settings())
    assert fingerprint_of(load_settings(**changed)) != plain
    assert fingerprint_of(load_settings(log={"format": "json"}, data_dir="elsewhere")) == plain


@pytest.mark.parametrize("part", ["embedder", "reranker"])
def test_a_price_of_what_searches_does_not(part: str) -> None:
    priced = load_settings(**{part: {"input_price": 0.02}})
    assert fingerprint_of(priced) == fingerprint_of(load_settings())


def test_a_changed_prompt_changes_the_fingerprint(tmp_path: Any) -> None:
    from generation.prompts import ANSWER, TEMPLATES

    generator = {"kind": "openai", "base_url": "http://x/v1", "model": "a"}
    own = tmp_path / ANSWER
    own.write_bytes((TEMPLATES / ANSWER).read_bytes())
    settings = load_settings(generator=generator | {"templates": str(tmp_path)})
    before = fingerprint_of(settings)
    own.write_text(own.read_text() + "\n{# changed #}\n")
    assert fingerprint_of(settings) != before
