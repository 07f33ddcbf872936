from __future__ import annotations

import os
from pathlib import Path

import pytest

from ingest.sources.files import Spool, file_uri, find, load, submission_of
from rag.errors import InputError, ReadError, StorageError
from rag.text.uris import document_id

as_root = pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b.md", "a.txt", "sub/c.rst", "sub/deep/d.html", "picture.png", ".hidden.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("text")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "e.md").write_text("text")
    return tmp_path


def found(tree: Path, *patterns: str) -> list[str]:
    return [str(path.relative_to(tree)) for path in find([str(tree / p) for p in patterns])]


# Finding files


def test_a_folder_stands_for_its_readable_files_in_a_stable_order(tree: Path) -> None:
    assert found(tree, ".") == ["a.txt", "b.md", "sub/c.rst", "sub/deep/d.html"]


def test_hidden_files_are_read_where_they_are_named(tree: Path) -> None:
    assert found(tree, ".hidden.md") == [".hidden.md"]


def test_a_named_file_is_taken_whatever_its_extension(tree: Path) -> None:
    assert found(tree, "picture.png") == ["picture.png"]


def test_a_glob_names_files_and_folders(tree: Path) -> None:
    assert found(tree, "*.md") == ["b.md"]
    assert found(tree, "**/*.rst") == ["sub/c.rst"]
    assert found(tree, "su*") == ["sub/c.rst", "sub/deep/d.html"]


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tree: Path) -> None:
    (tree / "a[1].md").write_text("text")
    (tree / "a1.md").write_text("text")
    assert found(tree, "a[1].md") == ["a[1].md"]


def test_a_file_that_is_named_twice_comes_once(tree: Path) -> None:
    assert found(tree, "b.md", ".", "sub/../b.md")[0] == "b.md"
    assert found(tree, "b.md", ".").count("b.md") == 1


def test_paths_come_out_absolute(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    assert list(find(["b.md"])) == [tree / "b.md"]


def test_a_loop_of_links_has_an_end(tree: Path) -> None:
    (tree / "sub" / "up").symlink_to(tree, target_is_directory=True)
    (tree / "self.md").symlink_to(tree / "self.md")
    (tree / "dangling.md").symlink_to(tree / "nowhere.md")
    assert found(tree, ".") == ["a.txt", "b.md", "sub/c.rst", "sub/deep/d.html"]


def test_a_link_to_a_file_is_that_file_under_its_own_name(tree: Path) -> None:
    (tree / "link.md").symlink_to(tree / "b.md")
    assert found(tree, "link.md") == ["link.md"]
    assert file_uri(tree / "link.md").endswith("/link.md")


def test_a_missing_path_is_an_error_that_names_it(tree: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.md: there is no such file") as caught:
        found(tree, "b.md", "nowhere.md")
    assert caught.value.code == "no_such_path"


@pytest.mark.parametrize("pattern", ["*.docx", "empty"])
def test_a_pattern_that_matches_nothing_is_an_error(tree: Path, pattern: str) -> None:
    (tree / "empty").mkdir()
    with pytest.raises(InputError, match=r"no file to read there\. Readable: PDF, Word"):
        found(tree, pattern)


@as_root
def test_a_folder_that_is_closed_to_us_is_an_error(tree: Path) -> None:
    (tree / "sub").chmod(0)
    try:
        with pytest.raises(InputError, match="cannot be listed: Permission denied"):
            found(tree, ".")
    finally:
        (tree / "sub").chmod(0o755)


# Reading them


def read(path: Path, *, max_bytes: int = 1 << 20, **source: object) -> str:
    return load(
        source or {"file": file_uri(path)}, path, id_="id", uri="file:///x", max_bytes=max_bytes
    ).text


def test_a_file_may_be_as_large_as_the_limit_and_no_larger(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("word " * 10)
    assert read(tmp_path / "a.txt", max_bytes=50).startswith("word")
    with pytest.raises(ReadError, match=r"a\.txt: over the limit .* limits\.file_mb") as caught:
        read(tmp_path / "a.txt", max_bytes=49)
    assert caught.value.code == "too_large"


def test_a_file_that_is_gone_is_a_read_error(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"a\.txt: cannot be read: No such file"):
        read(tmp_path / "a.txt")


def test_a_folder_in_the_place_of_a_file_is_a_read_error(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="cannot be read: Is a directory"):
        read(tmp_path)


@as_root
def test_a_file_that_is_closed_to_us_is_a_read_error(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "a.txt").chmod(0)
    with pytest.raises(ReadError, match="Permission denied"):
        read(tmp_path / "a.txt")


def test_a_submission_names_the_file_and_where_it_lies(tree: Path) -> None:
    submission = submission_of(tree / "b.md")
    assert submission.uri == (tree / "b.md").as_uri()
    assert submission.document_id == document_id(submission.uri)
    assert submission.source == {"file": submission.uri}


# The spool


def test_sent_bytes_are_kept_until_they_are_dropped(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool").of("acme")
    sent = spool.put(b"# Title\n\nText", uri="upload:a.md", name="a.md")
    path = spool.path(sent.source)
    document = load(sent.source, path, id_=sent.document_id, uri=sent.uri, max_bytes=100)
    assert (document.title, document.media_type) == ("Title", "text/markdown")
    spool.drop(sent.source)
    spool.drop(sent.source)
    assert not path.exists()


def test_bytes_without_a_name_are_a_json_document(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool").of("acme")
    sent = spool.put(b'{"text": "Hello", "meta": {"n": 1}}', uri="doc:1", document_id_="mine")
    path = spool.path(sent.source)
    document = load(sent.source, path, id_=sent.document_id, uri=sent.uri, max_bytes=100)
    assert (sent.document_id, sent.source["own_id"]) == ("mine", True)
    assert (document.text, document.meta) == ("Hello", {"n": 1})


def test_dropping_never_removes_somebodys_file(tree: Path) -> None:
    spool = Spool(tree / "spool").of("acme")
    spool.drop(submission_of(tree / "b.md").source)
    assert (tree / "b.md").exists()


def test_sweeping_keeps_what_tasks_wait_for(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool").of("acme")
    assert spool.keys(older_than=0) == set()  # before anything was sent
    kept, lost = (spool.put(b"x", uri=f"upload:{i}", name="a.txt") for i in range(2))
    spool.sweep(spool.keys(older_than=0) - {kept.source["spool"]})
    assert spool.path(kept.source).exists()
    assert not spool.path(lost.source).exists()
    fresh, old = (spool.put(b"x", uri=f"upload:{i}", name="a.txt") for i in range(2))
    os.utime(spool.path(old.source), (1, 1))
    spool.sweep(spool.keys(older_than=3600))
    assert spool.path(fresh.source).exists()
    assert not spool.path(old.source).exists()


def test_the_bytes_of_another_tenant_are_neither_found_nor_removed(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    theirs, ours = spool.of("rival"), spool.of("acme")
    sent = theirs.put(b"x", uri="upload:a.txt", name="a.txt")
    key = sent.source["spool"]
    for call in (
        lambda: ours.path(sent.source),
        lambda: ours.drop(sent.source),
        lambda: ours.sweep([key]),
    ):
        with pytest.raises(StorageError, match="another tenant"):
            call()
    assert ours.keys(older_than=0) == ours.part().keys(older_than=0) == set()
    assert spool.keys(older_than=0) == theirs.keys(older_than=0) == {key}
    assert theirs.path(sent.source).read_bytes() == b"x"
    spool.sweep([key])
    assert theirs.keys(older_than=0) == set()


def test_bytes_that_an_older_version_kept_are_found(tmp_path: Path) -> None:
    key = f"{'0f3c' * 8}-{'ab12' * 8}"
    (tmp_path / key).write_bytes(b"x")
    spool = Spool(tmp_path)
    assert spool.keys(older_than=0) == {key}
    assert spool.of("default").path({"spool": key}).read_bytes() == b"x"
    spool.of("default").drop({"spool": key})
    assert spool.keys(older_than=0) == set()


def test_a_spool_that_cannot_be_written_keeps_none_of_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        if len(list((tmp_path / "spool").iterdir())) > 1:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    spool = Spool(tmp_path / "spool").of("acme")
    items = [(b"x", {"uri": f"upload:{i}", "name": "a.txt"}) for i in range(2)]
    with pytest.raises(StorageError, match="No space left on device") as caught:
        spool.put_all(items)
    assert caught.value.code == "disk_full"
    assert list((tmp_path / "spool").iterdir()) == []
