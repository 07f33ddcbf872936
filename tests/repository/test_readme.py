"""The README's examples run unchanged and in order, and print the expected output."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.places import ROOT
from tests.ports import free_port

BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.mark.skipif(shutil.which("curl") is None, reason="the README's REST calls use curl")
def test_the_readme_s_shell_blocks_run(tmp_path: Path) -> None:
    port = free_port()
    script = "\n".join(BLOCK.findall((ROOT / "README.md").read_text()))
    assert "rag serve" in script
    assert "curl" in script
    script = script.replace(":8000", f":{port}").replace("curl -s", "curl -fs")
    bin_dir = Path(sys.executable).parent
    env = os.environ | {
        "PATH": f"{bin_dir}{os.pathsep}{os.environ['PATH']}",
        "RAG_DATA_DIR": str(tmp_path / "data"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "RAG_SERVER__PORT": str(port),
    }
    script = f"set -eu\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{script}"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert "Use 4 spaces per indentation level. [" in done.stdout
    assert "On Fridays it closes at four. [" in done.stdout
    assert "event: answer" in done.stdout
