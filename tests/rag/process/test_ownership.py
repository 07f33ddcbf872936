from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rag.errors import ConfigError
from rag.process.folder_lock import own
from tests.places import ROOT

_OWNER = """
import sys, time
from pathlib import Path
from rag.process.folder_lock import own

with own(Path(sys.argv[1])) as announce:
    if len(sys.argv) > 2:
        announce(sys.argv[2])
    print("mine", flush=True)
    time.sleep(60)
"""


@contextmanager
def owner(folder: Path, *url: str) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that owns the folder."""
    command = [sys.executable, "-c", _OWNER, str(folder), *url]
    root = ROOT
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"mine\n"
        try:
            yield child
        finally:
            child.kill()


def test_a_folder_that_another_process_owns_is_refused_and_the_process_named(
    tmp_path: Path,
) -> None:
    with owner(tmp_path) as child:
        with pytest.raises(ConfigError, match=f"belongs to process {child.pid}") as caught:
            own(tmp_path).__enter__()
        assert caught.value.code == "data_folder_in_use"
        assert "Wait until it ends" in str(caught.value)


def test_an_owner_that_serves_is_named_with_its_url(tmp_path: Path) -> None:
    url = "http://127.0.0.1:8123"
    with (
        owner(tmp_path, url),
        pytest.raises(ConfigError, match=f"add --url {url} or set RAG_URL"),
    ):
        own(tmp_path).__enter__()


def test_a_folder_is_free_again_once_its_owner_is_killed(tmp_path: Path) -> None:
    with owner(tmp_path) as child:
        child.send_signal(signal.SIGKILL)
        child.wait()
        with own(tmp_path):
            pass


def test_a_folder_is_free_again_after_the_block(tmp_path: Path) -> None:
    for _ in range(2):
        with own(tmp_path):
            assert str(os.getpid()) in (tmp_path / "lock.json").read_text()


def test_a_second_owner_in_the_same_process_is_refused(tmp_path: Path) -> None:
    with own(tmp_path), pytest.raises(ConfigError):
        own(tmp_path).__enter__()


def test_a_folder_is_made_with_its_parents(tmp_path: Path) -> None:
    with own(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").is_dir()


def test_an_owner_that_left_no_readable_note_is_still_an_owner(tmp_path: Path) -> None:
    with own(tmp_path):
        (tmp_path / "lock.json").write_text("{")
        with pytest.raises(ConfigError, match="belongs to process unknown"):
            own(tmp_path).__enter__()


@pytest.mark.parametrize("content", ["null", "[]", "{}"])
def test_a_note_of_another_shape_is_no_crash(tmp_path: Path, content: str) -> None:
    with own(tmp_path):
        (tmp_path / "lock.json").write_text(content)
        with pytest.raises(ConfigError, match="belongs to process unknown"):
            own(tmp_path).__enter__()


def test_a_data_folder_that_is_a_file_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be used: File exists"):
        own(tmp_path / "file").__enter__()
