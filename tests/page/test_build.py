"""The committed page is the one that its sources build."""

from __future__ import annotations

import filecmp
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.places import ROOT

CLIENTS = ROOT / "clients"


@pytest.mark.skipif(
    shutil.which("npx") is None or not (CLIENTS / "node_modules" / "vite").is_dir(),
    reason="its libraries are not installed: `make clients/node_modules`",
)
def test_the_sources_build_the_committed_page(tmp_path: Path) -> None:
    command = ["sh", str(CLIENTS / "build.sh"), sys.executable, str(tmp_path)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    committed = ROOT / "rag" / "web" / "static"
    names = sorted(
        str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()
    )
    kept = sorted(
        str(file.relative_to(committed)) for file in committed.rglob("*") if file.is_file()
    )
    assert names == kept
    _, differing, missing = filecmp.cmpfiles(tmp_path, committed, names, shallow=False)
    assert (differing, missing) == ([], []), "run `make page`, and commit what it builds"
