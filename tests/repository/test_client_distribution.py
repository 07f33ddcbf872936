"""`plumbline-client` alone, in an environment without the service, asks a running service."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.places import ROOT
from tests.servers import serving, submit

SCRIPT = """
import asyncio, importlib.util, sys
from plumbline_client import AsyncClient, Client, TokenEvent

for package in ("rag", "ingest", "fastapi", "numpy"):
    assert importlib.util.find_spec(package) is None, package
with Client(sys.argv[1]) as client:
    print(client.ask("When does the office open?").citations[0].quote)
    with client.stream("When does the office open?") as events:
        print("".join(event.text for event in events if isinstance(event, TokenEvent)))

async def main():
    async with AsyncClient(sys.argv[1]) as client:
        print((await client.search("office")).hits[0].document_id)

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the source distribution's files."""
    source = tmp_path_factory.mktemp("client") / "source"
    ignored = shutil.ignore_patterns("__pycache__", "build", "*.egg-info")
    shutil.copytree(ROOT / "clients" / "python", source, ignore=ignored)  # follows the links
    build = "from setuptools.build_meta import build_wheel; build_wheel('.')"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    (built,) = source.glob("*.whl")
    return built


def test_the_wheel_has_the_files_of_the_client_alone(wheel: Path) -> None:
    names = [n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n]
    files = (ROOT / "rag" / "client").glob("*.*")
    assert sorted(names) == sorted(f"plumbline_client/{file.name}" for file in files)
    assert "plumbline_client/py.typed" in names


def test_it_asks_in_an_environment_of_its_own(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=False)
    (packages,) = (tmp_path / "env" / "lib").glob("python3*/site-packages")
    zipfile.ZipFile(wheel).extractall(packages)
    for name in required("httpx", "pydantic"):
        install(name, packages)
    with serving(tmp_path / "data") as server:
        with server.client() as http:
            submit(http, {"id": "hours", "text": "The office opens at nine."})
        ran = subprocess.run(
            [tmp_path / "env" / "bin" / "python", "-I", "-W", "error", "-c", SCRIPT, server.url],
            capture_output=True,
            text=True,
            check=False,
        )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == [
        "The office opens at nine.",
        "The office opens at nine. [1]",
        "hours",
    ]


def required(*names: str) -> set[str]:
    """Returns the distributions that these need here, with themselves."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            needs = map(Requirement, distribution(name).requires or [])
            waiting += [
                n.name for n in needs if n.marker is None or n.marker.evaluate({"extra": ""})
            ]
    return found


def install(name: str, packages: Path) -> None:
    """Copies a distribution that is installed here."""
    for file in distribution(name).files or []:
        if ".." not in file.parts and file.suffix != ".pyc":
            target = packages / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file.locate(), target)
