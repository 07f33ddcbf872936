"""Every page of docs/ is reachable from its index, and every link leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.places import ROOT

DOCS = ROOT / "docs"
INDEX = DOCS / "README.md"
PAGES = [
    *DOCS.rglob("*.md"),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "examples/README.md")),
]
FENCE = re.compile(r"^ *```.*?^ *```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def links(page: Path) -> list[str]:
    """Targets of the relative links on a page; code blocks have none."""
    found = LINK.findall(FENCE.sub("", page.read_text()))
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


def test_every_page_is_reachable_from_the_index() -> None:
    named = {(DOCS / target.partition("#")[0]).resolve() for target in links(INDEX)}
    runbooks = DOCS / "runbooks" / "README.md"
    listed = {(runbooks.parent / target).resolve() for target in links(runbooks)}
    pages = set(DOCS.glob("*.md")) - {INDEX}
    assert len(pages) > 20
    assert pages - named == set()
    assert runbooks in named
    assert set(runbooks.parent.glob("*.md")) - listed == {runbooks}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in links(page):
        path, _, anchor = target.partition("#")
        to = (page.parent / path).resolve() if path else page
        assert to.exists(), target
        if anchor and to.suffix == ".md":
            assert anchor in anchors(to), target


def test_the_map_in_contributing_names_every_folder() -> None:
    """The map has a line for each folder at the top and in the product's packages."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    named = set(re.findall(r"^\| `([\w/]+)/` \|", text, re.MULTILINE))
    packages = ("rag", "ingest", "retrieval", "generation", "eval", "workers")
    others = (
        "benchmarks",
        "clients",
        "deploy",
        "docs",
        "examples",
        "findings",
        "integrations",
        "profiles",
        "tests",
    )
    inner = {
        folder.relative_to(ROOT).as_posix()
        for package in packages
        for folder in (ROOT / package).iterdir()
        if (folder / "__init__.py").is_file()
    }
    assert named == {*packages, *others} | inner


def test_the_files_and_suites_that_extending_names_exist() -> None:
    spans = set(re.findall(r"`([^`\n]+)`", (DOCS / "extending.md").read_text()))
    top = {path.name for path in ROOT.iterdir()}
    files = {
        s for s in spans if s.split("/")[0] in top and "/" in s and not re.search("[A-Z]{4}|vN", s)
    }
    suites = {s for s in spans if re.fullmatch(r"test_[a-z0-9_]+\*?", s)}
    assert len(files) > 30
    assert len(suites) > 15
    assert {file for file in files if not (ROOT / file).exists()} == set()
    tests = ROOT / "tests"
    assert {suite for suite in suites if not any(tests.rglob(f"{suite}.py"))} == set()


def test_the_names_that_extending_gives_are_in_their_files() -> None:
    text = " ".join((DOCS / "extending.md").read_text().split())
    path = r"`([a-z_]+/[\w/]+\.py)`"
    named = set(re.findall(rf"`(\w+)`(?: in |,? \(){path}", text))
    named |= {(name, file) for file, name in re.findall(rf"{path} \(`(\w+)`\)", text)}
    assert len(named) > 40
    assert {pair for pair in named if pair[0] not in (ROOT / pair[1]).read_text()} == set()
