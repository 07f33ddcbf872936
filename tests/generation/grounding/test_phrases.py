"""Phrases that a claim shares with a passage, and their rivals."""

from __future__ import annotations

import re

import numpy as np
import pytest

from generation.grounding.phrases import (
    Fit,
    Surroundings,
    Word,
    fit_of,
    fits,
    phrases,
    read_words,
)
from rag.types import Float32Array, TokenVectors

TITLE = "Steam"
TEXT = (
    f"{TITLE}\nJames Watt patented the engine in 1769, and steam moved looms."
    " Richard Trevithick built a locomotive in 1804."
)
AXES = {word: i for i, word in enumerate(sorted(set(re.findall(r"\w+", TEXT.lower()))))}


def _tokens(text: str) -> TokenVectors:
    """One token for each word; equal words have equal vectors, different ones orthogonal."""
    found = list(re.finditer(r"\w+", text))
    vectors = np.zeros((len(found), len(AXES) + 1), np.float32)
    for i, match in enumerate(found):
        vectors[i, AXES.get(match[0].lower(), len(AXES))] = 1
    spans = np.array([match.span() for match in found], np.int32).reshape(-1, 2)
    return TokenVectors(vectors=vectors, spans=spans)


@pytest.fixture
def passage() -> Surroundings:
    return Surroundings(TEXT, _tokens(TEXT), [(1, 12), (12, 19)])


def _fit(claim: str, passage: Surroundings) -> Fit:
    tokens = _tokens(claim)
    weights = np.full(len(tokens.spans), 1 / len(tokens.spans), np.float32)
    around = fits(tokens.vectors @ _tokens(TEXT).vectors.T, passage.nearness)
    return fit_of(read_words(claim, tokens), weights, around, passage)


def test_words_have_a_shape_and_the_range_of_their_tokens() -> None:
    text = "Looms of Watt: 17 moved"
    spans = np.array([[0, 3], [3, 5], [6, 8], [9, 13], [13, 14], [15, 17]], np.int32)
    tokens = TokenVectors(vectors=np.zeros((6, 1), np.float32), spans=spans)
    assert read_words(text, tokens, {0}) == [
        Word("looms", "loom", "other", 0, 2),
        Word("of", "of", "short", 2, 3),
        Word("watt", "watt", "name", 3, 4),
        Word("17", "17", "number", 5, 6),
    ]  # "moved" is past the encoder's window
    assert read_words(text, tokens)[0].shape == "name"


def test_the_longest_phrases_are_found_at_all_their_places(passage: Surroundings) -> None:
    claim = "James Watt of steam built in the engine in 1804"
    found = list(phrases(read_words(claim, _tokens(claim)), passage))
    assert [[word.text for word in phrase.words] for phrase in found] == [
        ["james", "watt"],
        ["steam"],
        ["built"],
        ["the", "engine", "in"],
        ["1804"],
    ]
    assert [phrase.shape for phrase in found] == ["name", "name", "other", "other", "number"]
    assert found[1].places == [(0, 1), (9, 10)]
    assert found[-1].places == [(18, 19)]


def test_nearness_falls_with_words_clauses_and_sentences(passage: Surroundings) -> None:
    near: Float32Array = passage.nearness
    assert near.shape == (19, 19)
    assert near.diagonal().tolist() == [1.0] * 19
    assert np.allclose(near, near.T)
    # a long word, a short one, "1769" and "and" with a comma between, "1804" and what is before it
    assert near[1, 2] < near[3, 4] * 1.001
    assert near[7, 8] < near[8, 9]
    assert near[11, 12] < near[7, 8]


def test_a_wrong_number_has_a_rival_that_fits_better(passage: Surroundings) -> None:
    right = _fit("James Watt patented the engine in 1769", passage)
    wrong = _fit("James Watt patented the engine, 1804", passage)
    assert right.number_rivals == 0.0  # one phrase, the whole claim
    assert wrong.number_rivals > 1 > _fit("Watt patented 1769", passage).number_rivals
    assert wrong.rivals > _fit("Watt patented 1769", passage).rivals
    assert wrong.standing < _fit("Watt patented 1769", passage).standing


def test_phrases_of_the_title_count_only_alone(passage: Surroundings) -> None:
    assert _fit("Steam, Watt patented 1769", passage) != _fit("Watt patented 1769", passage)
    only = _fit("Steam, then", passage)
    assert only.rivals != 0.0
    assert _fit("Nothing like it", passage) == Fit()


def test_a_passage_with_no_long_word_below_its_title_has_no_fit() -> None:
    text = "Steam\nNo."
    short = Surroundings(text, _tokens(text), [(1, 2)])
    assert list(phrases(read_words("Steam and more", _tokens("Steam and more")), short))
    tokens = _tokens("Steam and more")
    weights = np.full(3, 1 / 3, np.float32)
    around = fits(tokens.vectors @ _tokens(text).vectors.T, short.nearness)
    assert fit_of(read_words("Steam and more", tokens), weights, around, short) == Fit()
