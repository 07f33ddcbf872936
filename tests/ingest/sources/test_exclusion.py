"""Globs of files and folders that are not ingested."""

from __future__ import annotations

from pathlib import Path, PurePath

import pytest

from ingest.sources.exclusion import Exclusion
from ingest.sources.files import find
from rag.errors import InputError


@pytest.mark.parametrize(
    ("glob", "left_out", "kept"),
    [
        ("drafts", ["drafts", "drafts/a.md", "b/drafts/c/d.md"], ["drafts.md", "b/my-drafts/a.md"]),
        ("*.log", ["a.log", "b/c/a.log"], ["a.log.md", "log"]),
        ("archive/", ["archive/a.md", "b/archive/a.md"], ["archived/a.md"]),
        ("/archive", ["archive/a.md"], ["b/archive/a.md"]),
        ("a/*.csv", ["a/x.csv"], ["a/b/x.csv", "x.csv", "b/a/x.csv"]),
        ("a/**/*.csv", ["a/x.csv", "a/b/c/x.csv"], ["b/x.csv", "a/x.csv.md"]),
        ("**/tmp/*", ["tmp/a.md", "b/tmp/a.md", "b/tmp/c/a.md"], ["tmp.md", "b/a.md"]),
        ("202[34]-*", ["2023-a.md", "x/2024-b/c.md"], ["2025-a.md"]),
        ("Entwürfe", ["Entwürfe/a.md"], ["entwürfe/a.md"]),
    ],
)
def test_a_glob_fits_names_and_paths(glob: str, left_out: list[str], kept: list[str]) -> None:
    exclude = Exclusion([glob])
    assert [path for path in left_out + kept if exclude.leaves_out(PurePath(path))] == left_out


@pytest.mark.parametrize("glob", ["", "/", ".", "..", "../x", "a/../b"])
def test_a_glob_that_fits_nothing_is_refused(glob: str) -> None:
    with pytest.raises(InputError, match="--exclude"):
        Exclusion([glob])


def test_what_folders_and_globs_find_is_left_out_and_what_is_named_is_not(tmp_path: Path) -> None:
    for name in ("a.md", "drafts/b.md", "c/drafts/d.md", "c/e.log"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    exclude = Exclusion(["drafts", "*.log"])

    def found(*patterns: str) -> list[str]:
        paths = find([str(tmp_path / pattern) for pattern in patterns], exclude)
        return [path.relative_to(tmp_path).as_posix() for path in paths]

    assert found("") == ["a.md"]
    assert found("*") == ["a.md"]
    assert found("", "c/e.log", "drafts") == ["a.md", "c/e.log", "drafts/b.md"]
