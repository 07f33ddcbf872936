from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from generation.grounding.answerability import Verdict
from generation.grounding.choice import Sentence
from generation.grounding.evidence import Evidence
from generation.routing.rules import Question, reasons_for
from rag.settings.generation import ExtractiveSettings
from rag.settings.routing import RouteSettings
from rag.types import Prompt, SamplingOverrides, Scope

GENERATOR = {"kind": "openai", "base_url": "http://small:8000/v1", "model": "small"}


def question(
    text: str = "How many boats are there?",
    *,
    tenant: str = "acme",
    tags: tuple[str, ...] = (),
    as_json: bool = False,
    confidence: float | None = None,
    places: tuple[int, ...] = (),
) -> Question:
    sampling = SamplingOverrides(schema={"type": "object"} if as_json else None)
    scope = Scope(tenant=tenant, collection="c")
    prompt = Prompt(question=text, scope=scope, hits=(), sampling=sampling, tags=tags)
    if confidence is None:
        return Question(prompt, None)
    sentences = tuple(Sentence(place=place, start=0, end=1, score=1.0) for place in places)
    evidence = Evidence(sentences=sentences, features=()) if places else None
    return Question(prompt, Verdict(confidence=confidence, evidence=evidence))


def reasons(asked: Question, **conditions: Any) -> tuple[str, ...] | None:
    return reasons_for(RouteSettings(name="r", generator=GENERATOR, **conditions), asked)


GERMAN = "Wie lange ist die Badestelle im Sommer geöffnet?"


@pytest.mark.parametrize(
    ("conditions", "fits", "reason", "does_not"),
    [
        ({"tenants": ["acme", "b"]}, question(), "tenant acme", question(tenant="c")),
        ({"tags": ["search-box"]}, question(tags=("x", "search-box")), "tag search-box",
         question(tags=("x",))),
        ({"json_only": True}, question(as_json=True), "JSON asked for", question()),
        ({"json_only": False}, question(), "no JSON asked for", question(as_json=True)),
        ({"max_chars": 25}, question(), "25 characters", question("How many boats are there??")),
        ({"languages": ["de"]}, question(GERMAN), "language de", question()),
        ({"kinds": ["number"]}, question(), "asks for a number", question("Who is there?")),
        ({"min_confidence": 0.8}, question(confidence=0.8), "confidence 0.80",
         question(confidence=0.79)),
        ({"max_spread": 1}, question(confidence=1, places=(2, 2)), "evidence in 1 passages",
         question(confidence=1, places=(0, 2))),
    ],
)  # fmt: skip
def test_a_condition_holds_or_not(
    conditions: dict[str, Any], fits: Question, reason: str, does_not: Question
) -> None:
    assert reasons(fits, **conditions) == (reason,)
    assert reasons(does_not, **conditions) is None


def test_without_evidence_no_condition_about_it_holds() -> None:
    asked = question(confidence=0.1)
    assert reasons(asked, min_confidence=0.2) is None
    assert reasons(asked, max_spread=9) is None
    assert reasons(question(), min_confidence=0.2) is None


def test_all_conditions_have_to_hold() -> None:
    asked = question(tags=("a",), confidence=0.9)
    assert reasons(asked, tags=["a"], min_confidence=0.5) == ("tag a", "confidence 0.90")
    assert reasons(asked, tags=["b"], min_confidence=0.5) is None
    assert reasons(asked, tags=["a"], min_confidence=0.95) is None


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({}, "needs a condition"),
        ({"name": "main", "max_chars": 9}, "take another name"),
        ({"name": "A b", "max_chars": 9}, "pattern"),
        ({"languages": ["xx"]}, "languages"),
        ({"kinds": ["why"]}, "kinds"),
        ({"min_confidence": 2}, "less than or equal to 1"),
    ],
)
def test_routes_that_mean_nothing_are_refused(values: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        RouteSettings(**{"name": "small", "generator": GENERATOR, **values})


def test_what_asks_for_json_goes_to_no_extractive_route() -> None:
    route = RouteSettings(name="r", generator=ExtractiveSettings(), max_chars=99)
    assert reasons_for(route, question()) is not None
    assert reasons_for(route, question(as_json=True)) is None
