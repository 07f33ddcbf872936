"""The runs in one folder: whose they are, and what is not a run of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from eval.runs import kept_runs
from eval.runs.kept_runs import KeptRuns
from eval.runs.run_folder import INFO, OUTCOMES, SUMMARY, RunFolder
from rag.errors import ConflictError, InputError, NotFoundError, StorageError
from tests.eval_runs import INFO as ABOUT
from tests.eval_runs import outcome, write_run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def run(folder: Path, name: str, **info: str) -> Path:
    return write_run(folder / name, [outcome("a")], **info)


def names(folder: Path, tenant: str = "default") -> list[str]:
    return [each.name for each in KeptRuns(folder).page(tenant, start=0, limit=99).runs]


def test_runs_are_their_tenant_s_and_older_ones_the_default_tenant_s(folder: Path) -> None:
    assert names(folder) == []  # the folder need not exist
    run(folder, "mine")
    run(folder, "theirs", tenant="acme")
    older = run(folder, "older") / INFO
    older.write_text(older.read_text().replace('  "tenant": "default",\n', ""))
    assert "tenant" not in older.read_text()
    assert sorted(names(folder)) == ["mine", "older"]
    assert names(folder, "acme") == ["theirs"]
    assert names(folder, "rival") == []
    kept = KeptRuns(folder)
    assert kept.get("acme", "theirs").info.tenant == "acme"
    assert kept.whole("acme", "theirs").folder == Path("theirs")
    for tenant, name in (("acme", "mine"), ("default", "theirs"), ("acme", "none")):
        with pytest.raises(NotFoundError, match=f"no evaluation run '{name}'"):
            kept.get(tenant, name)
        with pytest.raises(NotFoundError):
            kept.whole(tenant, name)


def test_a_run_of_another_tenant_is_not_resumed(folder: Path) -> None:
    with RunFolder(folder, ABOUT) as begun:
        begun.append(outcome("a"))
    other = RunFolder(folder, replace(ABOUT, tenant="acme"))
    with pytest.raises(InputError, match="another tenant"), other:
        pass


def test_pages_are_newest_first(folder: Path) -> None:
    for day in (3, 1, 2):
        run(folder, f"r{day}", started=f"2026-01-0{day}T12:00:00+00:00")
    kept = KeptRuns(folder)
    first = kept.page("default", start=0, limit=2)
    assert [each.name for each in first.runs] == ["r3", "r2"]
    assert first.more
    rest = kept.page("default", start=2, limit=2)
    assert ([each.name for each in rest.runs], rest.more) == (["r1"], False)


@pytest.mark.parametrize(
    "name",
    ["..", ".", "", "../runs/mine", "a/b", "mine/", "/etc", ".hidden", "a\0b", "ä", "x" * 101],
)
def test_a_name_leads_nowhere_else(folder: Path, name: str) -> None:
    run(folder, "mine")
    with pytest.raises(NotFoundError):
        KeptRuns(folder).get("default", name)


def test_links_are_not_followed(folder: Path, tmp_path: Path) -> None:
    run(folder, "mine")
    outside = run(tmp_path, "outside")
    (folder / "link").symlink_to(outside)
    for file in (INFO, OUTCOMES, SUMMARY):
        (run(folder, f"of-{file}") / file).unlink()
        (folder / f"of-{file}" / file).symlink_to(outside / file)
    (folder / "empty").mkdir()
    (folder / "file").write_text("{}")
    assert names(folder) == ["mine"]
    with pytest.raises(NotFoundError):
        KeptRuns(folder).get("default", "link")


def test_damaged_runs_are_named_to_their_tenant_or_else_the_default_one(folder: Path) -> None:
    run(folder, "good", tenant="acme")
    for name, file, text in (
        ("no-json", INFO, "{"), ("no-run", INFO, "[]"), ("no-summary", SUMMARY, "{"),
    ):  # fmt: skip
        (run(folder, name) / file).write_text(text)
    kept = KeptRuns(folder)
    listed = kept.page("default", start=0, limit=9)
    assert (listed.runs, listed.unreadable) == ([], ["no-json", "no-run", "no-summary"])
    (run(folder, "of-acme", tenant="acme") / SUMMARY).write_text("{")
    theirs = kept.page("acme", start=0, limit=9)
    assert ([each.name for each in theirs.runs], theirs.unreadable) == (["good"], ["of-acme"])
    with pytest.raises(StorageError):
        kept.get("acme", "of-acme")
    with pytest.raises(NotFoundError):
        kept.get("default", "of-acme")
    for name in listed.unreadable:
        with pytest.raises(StorageError, match=f"run '{name}' cannot be read"):
            kept.get("default", name)
        with pytest.raises(NotFoundError):
            kept.get("acme", name)
    (run(folder, "no-outcome") / OUTCOMES).write_text("{}\n")
    assert kept.get("default", "no-outcome")
    with pytest.raises(StorageError):
        kept.whole("default", "no-outcome")


def test_a_run_that_is_not_finished_or_too_large_is_not_compared(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RunFolder(folder / "begun", ABOUT):
        pass
    kept = KeptRuns(folder)
    begun = kept.get("default", "begun")
    assert (begun.info.finished, begun.summary) == (None, {})
    with pytest.raises(ConflictError, match="not finished"):
        kept.whole("default", "begun")
    run(folder, "large")
    monkeypatch.setattr(kept_runs, "LARGEST_BYTES", 9)
    with pytest.raises(ConflictError, match="rag eval compare"):
        kept.whole("default", "large")
