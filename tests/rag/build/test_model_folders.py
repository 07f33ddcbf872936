"""Names of models in the registry, wherever the settings name a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest

from rag.build.model_folders import registry_of, with_model_folders
from rag.errors import ConfigError
from rag.model_registry.records import ModelKind
from rag.model_registry.references import parse
from rag.model_registry.upkeep import add, promote
from rag.settings.generation import OpenAISettings, VllmSettings
from rag.settings.tree import Settings
from tests.model_folders import make_folder

OPENAI = {"kind": "openai", "base_url": "http://localhost:1/v1", "model": "m"}


def put(settings: Settings, name: str, folder: Path, kind: ModelKind) -> None:
    """Adds a version and promotes it."""
    make_folder(folder)
    (folder / "adapter_config.json").write_text("{}")
    registry, reference = registry_of(settings), parse(name)
    add(registry, reference, folder, kind, quantized=False)
    registry.update(reference, verified="then", warmed="then")
    promote(registry, reference.name, reference.version or "")


@pytest.fixture
def models(tmp_path: Path) -> Settings:
    """Settings of a data folder whose registry has a model of each kind."""
    settings = Settings(data_dir=tmp_path / "data")
    for kind in get_args(ModelKind):
        put(settings, f"{kind}@1", tmp_path / kind, kind)
    put(settings, "generator@2", tmp_path / "second", "generator")
    return settings


def with_parts(settings: Settings, **parts: Any) -> Settings:
    return Settings(data_dir=settings.data_dir, **parts)


def test_without_names_of_the_registry_nothing_changes(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    assert with_model_folders(settings) == settings
    assert not (tmp_path / "data").exists()


def test_the_links_of_the_versions_take_the_place_of_names(models: Settings) -> None:
    given = with_parts(
        models,
        embedder={"model": "registry:embedder"},
        reranker={"kind": "onnx", "model": "registry:reranker@1"},
        generator={
            "kind": "vllm",
            "model": "registry:generator",
            "lora": "registry:adapter",
            "adapters": {"acme": "registry:adapter@1", "globex": "/plain"},
        },
        fallbacks=[{"kind": "vllm", "model": "registry:generator@1"}, {"kind": "extractive"}],
        routes=[
            {
                "name": "old",
                "tenants": ["acme"],
                "generator": {"kind": "vllm", "model": "registry:generator@1"},
            }
        ],
        online={"judge": {"kind": "vllm", "model": "registry:generator"}},
        citations={"entailment": "registry:entailment"},
    )
    found = with_model_folders(given)
    links = registry_of(models).folder / "links"
    assert found.embedder.model == links / "embedder@1"
    assert found.reranker.model == str(links / "reranker@1")  # type: ignore[union-attr]
    main = found.generator
    assert isinstance(main, VllmSettings)
    assert (main.model, main.lora) == (str(links / "generator@2"), links / "adapter@1")
    assert main.adapters == {"acme": str(links / "adapter@1"), "globex": "/plain"}
    old = str(links / "generator@1")
    assert found.fallbacks[0].model == old  # type: ignore[union-attr]
    assert found.routes[0].generator.model == old  # type: ignore[union-attr]
    assert found.citations.entailment == str(links / "entailment@1")
    assert found.online.judge.model == str(links / "generator@2")  # type: ignore[union-attr]
    assert with_model_folders(found) == found


def test_a_model_of_another_kind_is_refused(models: Settings) -> None:
    with pytest.raises(ConfigError, match="of the kind 'generator', and 'embedder' is needed"):
        with_model_folders(with_parts(models, embedder={"model": "registry:generator"}))


@pytest.mark.parametrize(
    "part", [{"model": "registry:generator"}, {"adapters": {"acme": "registry:adapter"}}]
)
def test_a_server_has_models_of_its_own(models: Settings, part: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="name it as the server names it"):
        with_model_folders(with_parts(models, generator=OPENAI | part))


def test_models_dir_is_another_folder(models: Settings, tmp_path: Path) -> None:
    moved = registry_of(models).folder.rename(tmp_path / "shared")
    settings = Settings(
        data_dir=models.data_dir,
        models_dir=moved,
        generator={"kind": "vllm", "model": "registry:generator"},
    )
    found = with_model_folders(settings).generator
    assert isinstance(found, VllmSettings)
    assert Path(found.model).parent == moved / "links"


def test_adapters_of_a_server_are_plain_names() -> None:
    part = OpenAISettings.model_validate(OPENAI | {"adapters": {"acme": "acme-lora"}})
    assert part.adapters == {"acme": "acme-lora"}
