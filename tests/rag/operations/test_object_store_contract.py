"""The contract of `ObjectStore`, on a folder and on a server of the S3 protocol."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from rag.errors import ConfigError, NotFoundError, StorageError, UpstreamError
from rag.operations.backup.object_store import FolderStore, ObjectStore
from rag.operations.backup.s3_store import S3Store
from tests.ports import free_port
from tests.s3_server import BUCKET, s3_server


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with (
        s3_server(tmp_path_factory.mktemp("s3") / "s3.log") as environment,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in environment.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "folder":
        return FolderStore(tmp_path / "backups")
    request.getfixturevalue("s3")
    return S3Store(BUCKET, f"in/{tmp_path.name}")


def test_objects_are_listed_and_read_as_they_were_written(store: ObjectStore) -> None:
    assert store.sizes("objects") == {}
    store.write("objects/ab/one", b"1")
    store.write("objects/ab/one", b"the first")
    store.write("objects/cd/two", b"")
    store.write("manifests/m.json", b"{}")
    store.settle()
    assert store.sizes("objects") == {"objects/ab/one": 9, "objects/cd/two": 0}
    assert store.sizes("manifests") == {"manifests/m.json": 2}
    assert bytes(store.read("objects/ab/one")) == b"the first"


def test_each_thread_reads_its_own_object(store: ObjectStore) -> None:
    written = {f"objects/{n}": bytes([n]) * (300_000 - n) for n in range(6)}
    for name, data in written.items():
        store.write(name, memoryview(data))
    reading = Barrier(3, timeout=30)

    def read(name: str) -> bytes:
        found = store.read(name)
        reading.wait()  # the others have read, too
        return bytes(found)

    with ThreadPoolExecutor(3) as threads:
        assert dict(zip(written, threads.map(read, written), strict=True)) == written


def test_a_missing_object_is_not_found(store: ObjectStore) -> None:
    with pytest.raises(NotFoundError, match="objects/none"):
        store.read("objects/none")


def test_removing_is_repeatable(store: ObjectStore) -> None:
    names = [f"objects/{n}" for n in range(1_100 if isinstance(store, FolderStore) else 20)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda name: store.write(name, name.encode()), names))
    store.remove([*names[1:], "objects/unknown"])
    store.remove(names[1:])
    assert store.sizes("objects") == {names[0]: len(names[0])}


def test_a_bucket_that_does_not_exist_is_named(s3: None) -> None:
    with pytest.raises(ConfigError, match=r"'other'.*NoSuchBucket"):
        S3Store("other").sizes("objects")


def test_a_server_that_does_not_answer_is_an_error_of_the_moment(
    s3: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rag.operations.backup.s3_store._ATTEMPTS", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(UpstreamError, match="cannot be reached"):
        S3Store(BUCKET).read("objects/one")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be used") as caught:
        FolderStore(tmp_path / "file").write("objects/one", b"1")
    assert str(tmp_path / "file") in caught.value.in_full()
