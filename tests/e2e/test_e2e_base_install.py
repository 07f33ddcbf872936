"""The embedded default with the packages of the base install alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

EXTRAS = (
    *("asyncpg", "celery", "mcp", "qdrant_client", "redis", "scipy"),
    *("sentence_transformers", "torch"),
)
HIDING = f"""
import sys

for name in {EXTRAS!r}:
    sys.modules[name] = None
"""


def rag(*args: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("rag")), *args]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def test_it_ingests_and_answers_without_the_packages_of_extras(tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text(HIDING)
    note = tmp_path / "note.md"
    note.write_text("# Lines\n\nA line of code may have 79 characters.\n")
    path = os.pathsep.join(filter(None, (str(hidden), os.environ.get("PYTHONPATH"))))
    env = {**os.environ, "PYTHONPATH": path, "RAG_DATA_DIR": str(tmp_path / "data")}
    env["XDG_STATE_HOME"] = str(tmp_path / "state")
    ingested = rag("ingest", str(note), env=env)
    assert ingested.returncode == 0, ingested.stderr
    answered = rag("query", "How many characters may a line of code have?", env=env)
    assert answered.returncode == 0, answered.stderr
    assert "79 characters" in answered.stdout
    broker = {"RAG_QUEUE__KIND": "celery", "RAG_QUEUE__BROKER_URL": "redis://localhost/0"}
    refused = rag("worker", env=env | broker)
    assert refused.returncode == 2
    assert "pip install 'plumbline-rag[cluster]'" in refused.stderr
