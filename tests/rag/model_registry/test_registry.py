"""The registry's file: what is in it, and what happens to it when something goes wrong."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from rag.errors import ConfigError, InputError, StorageError
from rag.model_registry.records import Comparison, Contents, ModelVersion
from rag.model_registry.references import Reference, parse
from rag.model_registry.registry import Registry, find
from rag.model_registry.upkeep import add, go_back, promote, remove, verify
from tests.disks import fill, small_disk
from tests.model_folders import make_folder


def added(registry: Registry, name: str, folder: Path, *, quantized: bool = False) -> ModelVersion:
    return add(registry, parse(name), folder, "generator", quantized=quantized)


def ready(registry: Registry, name: str, folder: Path, *, quantized: bool = False) -> None:
    """Adds a version that may be promoted."""
    added(registry, name, folder, quantized=quantized)
    registry.update(parse(name), verified="then", warmed="then")


def record(registry: Registry, name: str) -> ModelVersion:
    model, version = find(registry.read(), parse(name))
    return model.versions[version]


def test_a_version_has_the_checksums_of_its_files_and_a_link_with_its_name(
    registry: Registry, folder: Path
) -> None:
    made = added(registry, "tiny@1", folder)
    assert list(made.files) == ["config.json", "model.safetensors", "1_Pooling/config.json"]
    assert made.files["model.safetensors"].size == 7
    assert made.files["model.safetensors"].sha256 == (hashlib.sha256(b"weights").hexdigest())
    link = registry.resolve(Reference("tiny", "1"), "generator")
    assert link.name == "tiny@1"
    assert link.resolve() == folder.resolve()
    assert registry.folder_of(record(registry, "tiny@1")) == folder


def test_a_folder_within_the_registry_moves_with_it(registry: Registry, tmp_path: Path) -> None:
    added(registry, "tiny@1", make_folder(registry.folder / "files"))
    moved = Registry(registry.folder.rename(tmp_path / "elsewhere"))
    assert record(moved, "tiny@1").folder == "files"
    with pytest.raises(ConfigError, match="`rag models verify tiny@1` makes it again"):
        moved.resolve(parse("tiny@1"), "generator")
    assert not any(verify(moved, parse("tiny@1")))
    assert moved.resolve(parse("tiny@1"), "generator").resolve() == moved.folder / "files"


def test_what_is_no_model_is_not_added(registry: Registry, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for wrong, says in ((tmp_path / "no", "no folder"), (tmp_path / "empty", "no config.json")):
        with pytest.raises(InputError, match=says):
            added(registry, "tiny@1", wrong)
    with pytest.raises(InputError, match=r"has no adapter_config\.json"):
        add(registry, parse("tiny@1"), folder, "adapter", quantized=False)
    with pytest.raises(InputError, match="is for generators"):
        add(registry, parse("tiny@1"), folder, "embedder", quantized=True)
    (folder / "config.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        added(registry, "tiny@1", folder)
    assert registry.read() == Contents()


@pytest.mark.parametrize("name", ["", "@1", "a/b", "a@", "a@1@2", "../a", "-a", "a" * 65, "a b"])
def test_a_name_names_no_path(name: str) -> None:
    with pytest.raises(ConfigError, match="names no model"):
        parse(name)


def test_a_version_is_added_once(registry: Registry, folder: Path, tmp_path: Path) -> None:
    added(registry, "tiny@1", folder)
    with pytest.raises(InputError, match="tiny@1 exists"):
        added(registry, "tiny@1", make_folder(tmp_path / "other"))
    assert registry.resolve(parse("tiny@1"), "generator").resolve() == folder.resolve()


def test_what_is_missing_added_or_changed_is_named(registry: Registry, folder: Path) -> None:
    added(registry, "tiny@1", folder)
    assert not any(verify(registry, parse("tiny@1")))
    assert record(registry, "tiny@1").verified
    (folder / "model.safetensors").write_bytes(b"WEIGHTS")
    (folder / "1_Pooling" / "config.json").unlink()
    (folder / "more.txt").write_text("more")
    found = verify(registry, parse("tiny@1"))
    assert found == (("1_Pooling/config.json",), ("more.txt",), ("model.safetensors",))
    assert record(registry, "tiny@1").verified is None
    with pytest.raises(ConfigError, match=r"missing: 1_P.*added: more.txt; changed: model\.safe"):
        registry.resolve(parse("tiny@1"), "generator")
    shutil.rmtree(folder)
    assert verify(registry, parse("tiny@1")).missing
    with pytest.raises(ConfigError, match="The folder of tiny@1 is missing"):
        registry.resolve(parse("tiny@1"), "generator")


def test_a_file_that_was_only_touched_is_the_same(registry: Registry, folder: Path) -> None:
    added(registry, "tiny@1", folder)
    os.utime(folder / "model.safetensors", ns=(1, 1))
    assert registry.resolve(parse("tiny@1"), "generator")
    assert record(registry, "tiny@1").files["model.safetensors"].mtime_ns != 1
    verify(registry, parse("tiny@1"))
    assert record(registry, "tiny@1").files["model.safetensors"].mtime_ns == 1


def test_a_reference_must_be_to_what_is_there(registry: Registry, folder: Path) -> None:
    def refused(name: str) -> str:
        with pytest.raises(ConfigError) as caught:
            registry.resolve(parse(name), "generator")
        return str(caught.value)

    assert "no model 'tiny' in the registry (none)" in refused("tiny")
    added(registry, "tiny@1", folder)
    assert "no model 'tony' in the registry (tiny)" in refused("tony")
    assert "No version of tiny is promoted (1)" in refused("tiny")
    assert "no version '2' of tiny (1)" in refused("tiny@2")
    with pytest.raises(ConfigError, match="is of the kind 'generator', and 'embedder'"):
        registry.resolve(parse("tiny@1"), "embedder")


def test_only_what_is_verified_and_warmed_is_promoted(registry: Registry, folder: Path) -> None:
    added(registry, "tiny@1", folder)
    with pytest.raises(ConfigError, match="run `rag models verify tiny@1` first"):
        promote(registry, "tiny", "1")
    verify(registry, parse("tiny@1"))
    with pytest.raises(ConfigError, match="run `rag models warm tiny@1` first"):
        promote(registry, "tiny", "1")
    registry.update(parse("tiny@1"), warmed="then")
    (folder / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"changed: config\.json"):
        promote(registry, "tiny", "1")


def test_the_version_before_comes_back(registry: Registry, folder: Path, tmp_path: Path) -> None:
    ready(registry, "tiny@1", folder)
    ready(registry, "tiny@2", make_folder(tmp_path / "two"))
    assert promote(registry, "tiny", "1") == ("1", None)
    with pytest.raises(ConfigError, match="No other version of tiny was promoted before 1"):
        go_back(registry, "tiny")
    assert promote(registry, "tiny", "2") == ("2", "1")
    assert promote(registry, "tiny", "2") == ("2", "1")
    assert registry.resolve(parse("tiny"), "generator").name == "tiny@2"
    assert go_back(registry, "tiny") == ("1", "2")
    assert registry.resolve(parse("registry:tiny"), "generator").name == "tiny@1"
    with pytest.raises(ConfigError, match="tiny@1 is promoted"):
        remove(registry, parse("tiny@1"))
    remove(registry, parse("tiny@2"))
    assert registry.read().models["tiny"].before is None
    assert folder.is_dir()
    remove(registry, parse("tiny@1"))
    assert registry.read() == Contents()


def compared(registry: Registry, *, passed: bool = True) -> Comparison:
    return Comparison(
        reference="tiny@1",
        reference_digest=record(registry, "tiny@1").digest,
        candidate_digest=record(registry, "tiny@q4").digest,
        passed=passed,
        at="then",
        report={"faults": [] if passed else ["its score is 3 % lower"]},
    )


def test_a_quantized_model_is_promoted_after_a_comparison_that_it_passed(
    registry: Registry, folder: Path, tmp_path: Path
) -> None:
    ready(registry, "tiny@1", folder)
    rounded = make_folder(tmp_path / "q4", quantization_config={"bits": 4})
    ready(registry, "tiny@q4", rounded)
    assert record(registry, "tiny@q4").quantized
    with pytest.raises(ConfigError, match="was not compared with its reference"):
        promote(registry, "tiny", "q4")
    registry.update(parse("tiny@q4"), comparison=compared(registry, passed=False))
    with pytest.raises(ConfigError, match="is worse than tiny@1: its score is 3 % lower"):
        promote(registry, "tiny", "q4")
    registry.update(parse("tiny@q4"), comparison=compared(registry))
    assert promote(registry, "tiny", "q4").promoted == "q4"


def test_a_comparison_with_other_files_is_void(
    registry: Registry, folder: Path, tmp_path: Path
) -> None:
    ready(registry, "tiny@1", folder)
    ready(registry, "tiny@q4", make_folder(tmp_path / "q4"), quantized=True)
    registry.update(parse("tiny@q4"), comparison=compared(registry))
    remove(registry, parse("tiny@1"))
    with pytest.raises(ConfigError, match="had other files, or the latter was removed"):
        promote(registry, "tiny", "q4")
    (folder / "model.safetensors").write_bytes(b"others")
    ready(registry, "tiny@1", folder)
    with pytest.raises(ConfigError, match="had other files"):
        promote(registry, "tiny", "q4")


def _promote_often(folder: Path, version: str) -> None:
    for _ in range(50):
        promote(Registry(folder), "tiny", version)


def test_promotions_at_once_see_each_other(
    registry: Registry, folder: Path, tmp_path: Path
) -> None:
    for version in ("1", "2"):
        ready(registry, f"tiny@{version}", make_folder(tmp_path / version))
        promote(registry, "tiny", version)
    fork = multiprocessing.get_context("fork")
    both = [
        fork.Process(target=_promote_often, args=(registry.folder, version))
        for version in ("1", "2")
    ]
    for process in both:
        process.start()
    for process in both:
        process.join()
        assert process.exitcode == 0
    model = registry.read().models["tiny"]
    assert {model.promoted, model.before} == {"1", "2"}


def _die_while(folder: Path, edit: Callable[[Contents], Contents]) -> None:
    def fatal(contents: Contents) -> Contents:
        edit(contents)
        os.kill(os.getpid(), signal.SIGKILL)
        return contents

    Registry(folder).change(fatal)


def test_a_process_that_is_killed_in_a_change_leaves_the_registry_as_it_was(
    registry: Registry, folder: Path
) -> None:
    added(registry, "tiny@1", folder)
    before = registry.read()
    fork = multiprocessing.get_context("fork")
    process = fork.Process(
        target=_die_while, args=(registry.folder, lambda c: c.with_model("tiny", None))
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert registry.read() == before
    added(registry, "tiny@2", folder)  # its lock went with it


def test_a_lock_that_others_hold_is_waited_for_and_then_said(
    registry: Registry, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    added(registry, "tiny@1", folder)
    monkeypatch.setattr("rag.model_registry.registry.LOCK_SECONDS", 0.05)

    def meanwhile(contents: Contents) -> Contents:
        with pytest.raises(StorageError, match="Another process has held the registry"):
            added(registry, "tiny@2", folder)
        return contents

    registry.change(meanwhile)


def test_a_registry_of_a_newer_format_is_left_alone(registry: Registry, folder: Path) -> None:
    added(registry, "tiny@1", folder)
    file = registry.folder / "registry.json"
    newer = json.dumps({"format": 2, "models": {}, "more": 1})
    file.write_text(newer)
    with pytest.raises(ConfigError, match="A newer version of Plumbline wrote the registry"):
        added(registry, "tiny@2", folder)
    assert file.read_text() == newer


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": "x"}', '{"models": {"a": {}}}', "\xff"]
)
def test_a_damaged_registry_is_said(registry: Registry, text: str) -> None:
    registry.folder.mkdir()
    (registry.folder / "registry.json").write_text(text, encoding="latin-1")
    with pytest.raises(StorageError, match="is damaged"):
        registry.read()


def test_a_full_disk_changes_nothing(registry: Registry, folder: Path, tmp_path: Path) -> None:
    added(registry, "tiny@1", folder)
    with small_disk(tmp_path / "disk", 1) as disk:
        small = Registry(shutil.copytree(registry.folder, disk / "models", symlinks=True))
        fill(disk, leave=0)
        before = small.read()
        with pytest.raises(StorageError, match="No space left on device"):
            added(small, "tiny@2", folder)
        assert small.read() == before
        assert not list(small.folder.glob("*.tmp"))
