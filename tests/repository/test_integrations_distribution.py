"""`plumbline-integrations` and `plumbline-client` as wheels, beside the real frameworks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.places import ROOT
from tests.servers import serving, submit

SCRIPT = """
import sys
from pathlib import Path
from plumbline_client import Client
from plumbline_integrations import haystack, langchain, llama_index, sources

assert Path(sources.__file__).is_relative_to(sys.argv[2]), sources.__file__
url, question = sys.argv[1], "When does the office open?"
with Client(url) as client:
    print(langchain.PlumblineRetriever(client=client).invoke(question)[0].page_content)
    print(llama_index.PlumblineQueryEngine(client).query(question))
    component = haystack.PlumblineAnswerer(url)
    print(component.run(question)["answers"][0].data)
    component.close()
assert not {"rag", "ingest", "retrieval"} & sys.modules.keys()
"""


def built(source: Path, folder: Path) -> Path:
    """Builds the wheel of a copy of a folder."""
    ignored = shutil.ignore_patterns("__pycache__", "build", "*.egg-info")
    copy = folder / source.name
    shutil.copytree(source, copy, ignore=ignored)  # follows the links
    build = "from setuptools.build_meta import build_wheel; build_wheel('.')"
    subprocess.run([sys.executable, "-c", build], cwd=copy, check=True, capture_output=True)
    (wheel,) = copy.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("wheels")
    return [built(ROOT / name, folder) for name in ("integrations", "clients/python")]


def test_the_wheel_has_each_module_and_no_server(wheels: list[Path]) -> None:
    names = [n for n in zipfile.ZipFile(wheels[0]).namelist() if ".dist-info/" not in n]
    files = (ROOT / "integrations" / "plumbline_integrations").glob("*.*")
    assert sorted(names) == sorted(f"plumbline_integrations/{file.name}" for file in files)


def test_the_wheels_answer_in_each_framework(wheels: list[Path], tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    for wheel in wheels:
        zipfile.ZipFile(wheel).extractall(packages)
    with serving(tmp_path / "data") as server:
        with server.client() as http:
            submit(http, {"id": "hours", "text": "The office opens at nine."})
        ran = subprocess.run(
            [sys.executable, "-P", "-W", "error", "-c", SCRIPT, server.url, str(packages)],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(packages)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == [
        "The office opens at nine.",
        "The office opens at nine. [1]",
        "The office opens at nine. [1]",
    ]
