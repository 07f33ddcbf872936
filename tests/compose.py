"""compose.yaml, as Docker Compose reads it; nothing of it is started."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.places import ROOT
from tests.servers import Json

FILE = ROOT / "compose.yaml"
TOOLS = Path(sys.prefix) / "image-tools"
"""The folder into which `make image-tools` installs Docker Compose, hadolint and others."""
DOCKER_COMPOSE = shutil.which("docker-compose", path=TOOLS)
needs_compose = pytest.mark.skipif(
    DOCKER_COMPOSE is None, reason="there is no Docker Compose: `make image-tools` installs it"
)
OURS = ("api", "api-gpu", "worker")
"""The services that run `rag`."""


def compose(
    *arguments: str, variables: Mapping[str, str], file: Path = FILE
) -> subprocess.CompletedProcess[str]:
    """Runs Docker Compose with these variables alone."""
    assert DOCKER_COMPOSE is not None
    files = ["--file", str(file), "--env-file", os.devnull, "--project-directory", str(ROOT)]
    return subprocess.run(
        [DOCKER_COMPOSE, *files, *arguments],
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"} | dict(variables),
        capture_output=True,
        text=True,
        check=False,
    )


def secrets(folder: Path = ROOT / "deploy") -> dict[str, str]:
    """Returns the secrets that `secrets.sh` prints in a folder; by default in one without .env."""
    script = ROOT / "deploy" / "compose" / "secrets.sh"
    ran = subprocess.run(["sh", script], cwd=folder, capture_output=True, text=True, check=True)
    return dict(line.split("=", 1) for line in ran.stdout.splitlines())


def project(variables: Mapping[str, str]) -> Json:
    """Returns compose.yaml with all profiles, its variables replaced."""
    ran = compose("--profile", "*", "config", "--format", "json", variables=variables)
    assert ran.returncode == 0, ran.stderr
    found: Json = json.loads(ran.stdout)
    return found
