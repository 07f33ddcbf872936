"""Profiles are defaults under all that is set."""

from __future__ import annotations

from pathlib import Path

import pytest

from rag.errors import ConfigError
from rag.settings.profiles import PROFILES
from rag.settings.retrieval import LateInteractionSettings, NoRerankerSettings
from rag.settings.tree import Settings, load_settings


@pytest.mark.parametrize("profile", PROFILES)
def test_each_profile_gives_valid_settings(profile: str) -> None:
    settings = load_settings(profile=profile)
    assert settings.profile == profile
    for part, values in PROFILES[settings.profile].items():
        set_ = getattr(settings, part)
        assert {name: getattr(set_, name) for name in values} == values


def test_without_a_name_the_settings_are_the_defaults() -> None:
    assert load_settings() == load_settings(profile="balanced")
    assert PROFILES["balanced"] == {}


def test_a_profile_is_chosen_by_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rag.toml").write_text('profile = "fast"\n')
    assert load_settings().reranker == NoRerankerSettings(kind="none")
    monkeypatch.setenv("RAG_PROFILE", "best")
    assert load_settings().reranker == LateInteractionSettings(depth=16)


def test_what_is_set_wins_over_the_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG_PROFILE", "best")
    monkeypatch.setenv("RAG_RERANKER__CACHE_MB", "64")
    assert load_settings().reranker == LateInteractionSettings(depth=16, cache_mb=64)
    monkeypatch.setenv("RAG_RERANKER__DEPTH", "20")
    assert load_settings().reranker == LateInteractionSettings(depth=20, cache_mb=64)


def test_a_part_of_another_kind_takes_nothing_from_the_profile() -> None:
    settings = load_settings(profile="best", reranker={"kind": "none"})
    assert settings.reranker == NoRerankerSettings(kind="none")
    with pytest.raises(ConfigError, match=r"reranker\.depth' goes with another kind"):
        load_settings(profile="fast", reranker={"depth": 20})


def test_an_unknown_profile_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="'fast', 'balanced', 'best' or 'gpu'"):
        load_settings(profile="turbo")


def test_printed_settings_of_a_profile_give_the_same_settings() -> None:
    settings = load_settings(profile="fast")
    assert Settings(**settings.model_dump()) == settings
