"""Backups of a data folder and their restores, in this process."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from rag.build.backup_places import build_store
from rag.build.ingest import open_ingesting
from rag.build.model_folders import registry_of
from rag.build.storage import open_storage
from rag.errors import BusyError, ConfigError, NotFoundError, RagError, StorageError
from rag.model_registry.references import parse
from rag.model_registry.upkeep import add
from rag.operations.backup import marks, restoring
from rag.operations.backup.manifest import backup_ids
from rag.operations.backup.object_store import FolderStore
from rag.operations.backup.owner_copies import copy_of_owner, copying_on_request, locked_folder
from rag.operations.backup.pieces import THREADS
from rag.operations.backup.pruning import prune
from rag.operations.backup.sealing import Plain
from rag.operations.backup.staging import copy_data
from rag.process.folder_lock import own
from rag.settings.tree import Settings
from retrieval.indexes import sparse_files
from tests.backups import (
    SCOPE,
    TEXTS,
    back_up,
    bring_back,
    checked,
    edit,
    fill,
    ingest,
    manifest_file,
    settings_of,
)
from tests.model_folders import make_folder
from tests.waiting import until

pytestmark = pytest.mark.anyio

KEY = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I="
OTHER_KEY = "b3RoZXItb3RoZXItb3RoZXItb3RoZXItb3RoZXItb3Q="


@pytest.fixture(scope="module")
async def filled(tmp_path_factory: pytest.TempPathFactory, anyio_backend: str) -> Path:
    folder = tmp_path_factory.mktemp("filled") / "data"
    await fill(settings_of(folder))
    return folder


@pytest.fixture
def settings(filled: Path, folder: Path) -> Settings:
    shutil.copytree(filled, folder / "data")
    return settings_of(folder / "data")


def restored(settings: Settings, **others: Any) -> Settings:
    return settings_of(settings.data_dir.parent / "restored", **others)


def objects(settings: Settings) -> list[Path]:
    return sorted(Path(str(settings.backup.to)).glob("objects/*/*"))


async def test_a_restored_folder_has_all_documents_and_their_chunks(settings: Settings) -> None:
    made = await back_up(settings)
    assert made.manifest.missing == ()
    await bring_back(settings, restored(settings))
    report, texts = await checked(restored(settings))
    assert report.agrees
    assert report.chunks == len(TEXTS)
    assert texts == set(TEXTS)
    assert (restored(settings).data_dir.stat().st_mode & 0o077) == 0


async def test_a_second_backup_stores_only_what_changed(settings: Settings) -> None:
    first = await back_up(settings)
    second = await back_up(settings)
    assert second.written < first.written / 4
    assert second.reused + second.written == first.reused + first.written
    async with open_ingesting(settings) as opened:
        await ingest(opened, ["House 99 has no lamp. The cellar of house 99 is wet."])
    await back_up(settings)
    await bring_back(settings, restored(settings), first.manifest.id)
    assert (await checked(restored(settings)))[1] == set(TEXTS)
    assert prune(build_store(settings), Plain(), keep=1).removed == [
        first.manifest.id,
        second.manifest.id,
    ]
    later = settings_of(settings.data_dir.parent / "later")
    await bring_back(settings, later)
    assert len((await checked(later))[1]) == len(TEXTS) + 1


async def test_secrets_are_in_no_object(settings: Settings) -> None:
    secret = settings_of(
        settings.data_dir,
        catalog={"kind": "sqlite"},
        traces={"secret_key": "sk-lf-very-secret", "langfuse_url": "http://127.0.0.1:1"},
    )
    await back_up(secret)
    files = [path.read_bytes() for path in objects(settings)]
    assert any(b'"data_dir"' in data for data in files)
    assert not any(b"very-secret" in data for data in files)


async def test_with_a_key_no_text_and_no_digest_is_readable(settings: Settings) -> None:
    keyed = settings_of(settings.data_dir, backup={"key": KEY})
    made = await back_up(keyed)
    stored = [path.read_bytes() for path in objects(keyed)]
    stored.append(manifest_file(keyed, made.manifest.id).read_bytes())
    assert not any(b"lamps" in data or b"upload:" in data for data in stored)
    assert not any(
        hashlib.sha256(path.read_bytes()).hexdigest() == path.name for path in objects(keyed)
    )
    with pytest.raises(ConfigError, match=r"another key") as caught:
        await bring_back(settings_of(settings.data_dir, backup={"key": OTHER_KEY}), restored(keyed))
    assert caught.value.code == "backup_key"
    with pytest.raises(ConfigError, match="is encrypted"):
        await bring_back(settings, restored(settings))
    assert not restored(settings).data_dir.exists()
    await bring_back(keyed, restored(keyed), made.manifest.id)
    assert (await checked(restored(settings)))[1] == set(TEXTS)


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "encrypted"])
@pytest.mark.parametrize("harm", ["flipped", "cut", "missing", "exchanged"])
async def test_a_damaged_piece_is_found_and_nothing_is_in_place(
    settings: Settings, key: str | None, harm: str
) -> None:
    damaged = settings_of(settings.data_dir, backup={"key": key})
    await back_up(damaged)
    by_size: dict[int, list[Path]] = {}
    for each in objects(damaged):
        by_size.setdefault(each.stat().st_size, []).append(each)
    victim, other = next(found[:2] for found in by_size.values() if len(found) > 1)
    data = bytearray(victim.read_bytes())
    match harm:
        case "flipped":
            data[len(data) // 2] ^= 1
            victim.write_bytes(data)
        case "cut":
            victim.write_bytes(data[:-1])
        case "missing":
            victim.unlink()
        case _:
            victim.write_bytes(other.read_bytes())
    with pytest.raises(StorageError, match=r"damaged|was changed") as caught:
        await bring_back(damaged, restored(settings))
    assert caught.value.code == "backup_damaged"
    assert {path.name for path in settings.data_dir.parent.iterdir()} == {"backups", "data"}


async def test_a_piece_that_was_cut_short_is_stored_again(settings: Settings) -> None:
    first = await back_up(settings)
    for each in objects(settings):
        each.write_bytes(each.read_bytes()[:-1])
    assert (await back_up(settings)).written > 0.9 * first.written
    await bring_back(settings, restored(settings))
    assert (await checked(restored(settings)))[1] == set(TEXTS)


@pytest.mark.parametrize("task", ["backup", "restore"])
async def test_what_is_interrupted_ends_and_removes_its_files(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    if task == "restore":
        await back_up(settings)
    calls = {"backup": "write", "restore": "read"}
    begun, released, whole = threading.Event(), threading.Event(), []
    call = getattr(FolderStore, calls[task])

    def slow(self: FolderStore, name: str, *data: bytes) -> object:
        if name.startswith("objects/"):
            begun.set()
            assert released.wait(30)
            whole.append(name)
        return call(self, name, *data)

    monkeypatch.setattr(FolderStore, calls[task], slow)
    running = asyncio.create_task(
        back_up(settings) if task == "backup" else bring_back(settings, restored(settings))
    )
    assert await asyncio.to_thread(begun.wait, 30)
    running.cancel()
    await asyncio.sleep(0)
    assert not running.done()  # it waits for its threads
    released.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert len(whole) <= THREADS
    assert len(backup_ids(build_store(settings))) == (task == "restore")
    assert {path.name for path in settings.data_dir.parent.iterdir()} == {"backups", "data"}
    assert [path.name for path in (settings.data_dir / "backup").iterdir()] == ["lock"]


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "encrypted"])
async def test_any_byte_of_a_manifest_that_changes_is_noticed(
    settings: Settings, key: str | None
) -> None:
    keyed = settings_of(settings.data_dir, backup={"key": key})
    made = await back_up(keyed)
    file = manifest_file(keyed, made.manifest.id)
    whole = file.read_bytes()
    head = json.loads(whole)
    body = whole.index(b'"body"')
    for at in (2, 5, body + 20, len(whole) // 2, len(whole) - 9):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(RagError):
            await bring_back(keyed, restored(settings))
    for size in (0, 1, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:size])
        with pytest.raises(StorageError, match=r"manifest .* is damaged"):
            await bring_back(keyed, restored(settings))
    assert head["product"] == "Plumbline"
    assert not restored(settings).data_dir.exists()


@pytest.mark.parametrize(
    "path",
    [
        "../outside",
        "index/../../outside",
        "/outside",
        "elsewhere/outside",
        "index//outside",
        "index/./outside",
        "spool/a\0b",
    ],
)
async def test_a_path_that_leads_out_of_the_folder_is_refused(
    settings: Settings, path: str
) -> None:
    made = await back_up(settings)
    file = manifest_file(settings, made.manifest.id)
    body = json.loads(json.loads(file.read_text())["body"])
    body["files"].append({"path": path, "size": 0, "pieces": []})
    text = json.dumps(body)
    edit(file, body=text)
    with pytest.raises(StorageError, match="is no path of a backup"):
        await bring_back(settings, restored(settings))
    assert {each.name for each in settings.data_dir.parent.iterdir()} == {"backups", "data"}


async def test_a_backup_of_a_newer_version_is_refused(settings: Settings) -> None:
    made = await back_up(settings)
    file = manifest_file(settings, made.manifest.id)
    head = json.loads(file.read_text())
    edit(file, format=head["format"] + 1, version="9.0.0")
    with pytest.raises(ConfigError, match=r"newer Plumbline, 9\.0\.0"):
        await bring_back(settings, restored(settings))
    body = json.loads(head["body"]) | {"catalog": "9999"}
    text = json.dumps(body)
    edit(file, format=head["format"], body=text)
    with pytest.raises(ConfigError, match="newer Plumbline"):
        await bring_back(settings, restored(settings))
    assert not restored(settings).data_dir.exists()


async def test_a_target_that_is_not_empty_stays_as_it_is(settings: Settings) -> None:
    await back_up(settings)
    target = restored(settings).data_dir
    target.mkdir()
    (target / "mine").write_text("kept")
    with pytest.raises(ConfigError, match="not empty"):
        await bring_back(settings, restored(settings))
    assert [each.name for each in target.iterdir()] == ["mine"]


async def test_an_empty_folder_is_filled_and_not_opened_before_it_is_whole(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await back_up(settings)
    target = restored(settings)
    target.data_dir.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(restoring, "finish", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            await bring_back(settings, target)
    with pytest.raises(ConfigError, match="cut short"):
        async with open_storage(target):
            pytest.fail("it was opened")
    await bring_back(settings, target)
    assert (await checked(target))[1] == set(TEXTS)


async def test_a_disk_without_room_is_noticed_before_anything_is_written(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await back_up(settings)
    monkeypatch.setattr(sparse_files, "MIN_FREE", 1 << 60)
    with pytest.raises(StorageError, match="MiB are needed") as caught:
        await bring_back(settings, restored(settings), made.manifest.id)
    assert caught.value.code == "disk_full"
    assert {each.name for each in settings.data_dir.parent.iterdir()} == {"backups", "data"}


async def test_what_waits_to_be_ingested_is_ingested_after_a_restore(settings: Settings) -> None:
    text = "House 50 has a garden. The garden of house 50 has a pond."
    async with open_ingesting(settings) as opened:
        spool = opened.spool.of(SCOPE.tenant)
        sent = spool.put(text.encode(), uri="upload:50", name="50.txt", document_id_="50")
        await opened.catalog.jobs.submit(SCOPE, [sent])
        spool.write(f"{spool.new_key()}", b"of nobody")
        await copy_data(  # beside the running parts
            settings.data_dir,
            settings.data_dir.parent / "copy",
            index=opened.index,
            database=opened.database,
        )
    await back_up(settings_of(settings.data_dir.parent / "copy"))
    await bring_back(settings, restored(settings))
    held = list((restored(settings).data_dir / "spool").iterdir())
    assert [each.read_bytes() for each in held] == [text.encode()]
    async with open_ingesting(restored(settings)) as opened:
        await ingest(opened, [])
    assert (await checked(restored(settings)))[1] == {*TEXTS, text}


async def test_documents_ingested_during_the_copy_are_whole_or_absent(settings: Settings) -> None:
    """Twelve copies are made while documents are ingested and deleted: each opens in step."""
    copies = settings.data_dir.parent / "copies"
    copies.mkdir()
    async with open_ingesting(settings) as opened:

        async def copy() -> AsyncIterator[Path]:
            for n in range(4):
                to = copies / str(n)
                await copy_data(settings.data_dir, to, index=opened.index, database=opened.database)
                yield to

        import asyncio

        async def change() -> None:
            for n in range(100, 130):
                await ingest(opened, [f"House {n} is new. It has {n} windows."])
                await opened.ingest.delete(SCOPE, f"House {n}"[:9])

        changing = asyncio.create_task(change())
        made = [to async for to in copy()]
        changing.cancel()
        await asyncio.gather(changing, return_exceptions=True)
    for to in made:
        report, texts = await checked(settings_of(to))
        assert report.agrees, report
        assert set(TEXTS) <= texts


async def test_without_backups_or_data_it_says_so(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="nothing to back up"):
        await back_up(settings_of(tmp_path / "nowhere" / "data"))
    assert not (tmp_path / "nowhere").exists()
    assert backup_ids(build_store(settings)) == []
    with pytest.raises(ConfigError, match="lies in the data folder"):
        build_store(settings, str(settings.data_dir / "backups"))
    with pytest.raises(ConfigError, match="s3://BUCKET/PREFIX"):
        build_store(settings, "s3://")


async def test_a_copy_for_one_who_was_killed_is_not_given_to_the_next(tmp_path: Path) -> None:
    begun: list[Path] = []

    async def copy(part: Path) -> None:
        begun.append(part)
        (part / "first").touch()
        await asyncio.sleep(0.5)
        (part / "last").touch()

    with own(tmp_path):
        async with copying_on_request(tmp_path, copy):
            with locked_folder(tmp_path) as folder:
                asking = asyncio.create_task(copy_of_owner(tmp_path, folder))
                await until(lambda: begun)
                asking.cancel()
            with locked_folder(tmp_path) as folder:
                found = await copy_of_owner(tmp_path, folder)
                assert sorted(path.name for path in found.iterdir()) == ["first", "last"]
                assert len(begun) == 2
        assert [path.name for path in folder.iterdir()] == ["lock"]


async def test_no_backup_is_made_while_others_are_removed(settings: Settings) -> None:
    await back_up(settings)
    store = build_store(settings)
    with marks.pruning(store), pytest.raises(BusyError, match="Old backups are being removed"):
        await back_up(settings)
    with marks.making(store, "one"), pytest.raises(BusyError, match="making/one"):
        prune(store, Plain(), keep=1)
    assert store.sizes("making") == store.sizes("pruning") == {}
    assert len(prune(store, Plain(), keep=1).kept) == 1


def test_a_list_of_backups_needs_no_index() -> None:
    code = "import sys, rag.cli.backup; sys.exit('qdrant_edge' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_place_of_another_kind_is_refused_without_its_secret(settings: Settings) -> None:
    with pytest.raises(ConfigError, match="is no place for backups") as caught:
        build_store(settings, "gs://key:topsecret@bucket/p")
    assert "topsecret" not in str(caught.value)


async def test_links_of_models_are_made_again(settings: Settings, tmp_path: Path) -> None:
    model = make_folder(tmp_path / "model")
    add(registry_of(settings), parse("m@1"), model, "generator", quantized=False)
    await back_up(settings)
    back = restored(settings)
    await bring_back(settings, back)
    assert registry_of(back).resolve(parse("m@1"), "generator").resolve() == model.resolve()
