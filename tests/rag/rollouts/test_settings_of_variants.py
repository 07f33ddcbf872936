"""Variants in the settings: what they leave out is as in the settings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rag.errors import ConfigError
from rag.settings.generation import OpenAISettings
from rag.settings.tree import load_settings, printable

ENGINE = {"kind": "openai", "base_url": "http://engine/v1", "model": "small", "api_key": "hidden"}


def test_a_part_is_completed_by_that_of_the_settings() -> None:
    changes = {"generator": {"model": "big"}, "retrieval": {"weights": {"dense": 0.5}}}
    settings = load_settings(
        generator=ENGINE,
        retrieval={"depth": 50, "weights": {"sparse": 2.0}},
        variants={"bigger": changes},
    )
    made = settings.variants["bigger"]
    assert isinstance(made.generator, OpenAISettings)
    assert (made.generator.base_url, made.generator.model) == ("http://engine/v1", "big")
    assert made.generator.api_key == settings.generator.api_key  # type: ignore[union-attr]
    assert made.retrieval is not None
    assert (made.retrieval.depth, made.retrieval.weights.dense) == (50, 0.5)
    assert made.retrieval.weights.sparse == 2.0
    assert (made.reranker, made.embedder) == (None, None)


def test_a_part_of_another_kind_stands_alone() -> None:
    settings = load_settings(
        generator=ENGINE, variants={"q": {"generator": {"kind": "extractive"}}}
    )
    made = settings.variants["q"].generator
    assert made is not None
    assert made.kind == "extractive"


def test_the_environment_and_a_file_are_completed_alike(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "rag.toml").write_text(
        '[generator]\nkind = "openai"\nbase_url = "http://engine/v1"\nmodel = "small"\n'
        '[variants.prompt.generator]\ntemplates = "prompts"\n'
    )
    monkeypatch.setenv("RAG_CONFIG", str(tmp_path / "rag.toml"))
    monkeypatch.setenv("RAG_VARIANTS", json.dumps({"deep": {"retrieval": {"depth": 7}}}))
    variants = load_settings().variants
    assert isinstance(variants["prompt"].generator, OpenAISettings)
    assert variants["prompt"].generator.templates == Path("prompts")
    assert variants["prompt"].generator.model == "small"
    assert variants["deep"].retrieval is not None
    assert variants["deep"].retrieval.depth == 7


@pytest.mark.parametrize(
    ("variants", "says"),
    [
        ({"base": {}}, "the name of the pipeline of the settings themselves"),
        ({"Not A Name": {}}, "String should match pattern"),
        ({"x": {"retrieval": {"deep": 3}}}, "There is no setting"),
        ({"x": {"generator": {"kind": "openai"}}}, "Field required"),
        ("no", "valid dictionary"),
    ],
)
def test_what_does_not_fit_is_refused(variants: object, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load_settings(variants=variants)


def test_no_secret_of_a_variant_is_shown() -> None:
    variants = {"x": {"generator": ENGINE | {"api_key": "top-secret"}}}
    settings = load_settings(variants=variants)
    assert "top-secret" not in json.dumps(printable(settings))
    with pytest.raises(ConfigError) as error:
        load_settings(variants={"x": {"generator": ENGINE | {"api_key": ["top-secret"]}}})
    assert "top-secret" not in str(error.value)
