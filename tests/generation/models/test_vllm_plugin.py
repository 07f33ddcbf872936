"""The vLLM plugin that ends an engine's process with its parent; needs no vllm."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import time
from importlib.metadata import entry_points
from pathlib import Path

from generation.models.vllm_plugin import end_with_parent
from tests.servers import wait_for


def hold(alive: Path) -> None:
    """Stands for an engine's process: touches a file until it ends."""
    end_with_parent()
    while True:
        alive.touch()
        time.sleep(0.02)


def parent(alive: Path) -> None:
    child = multiprocessing.get_context("spawn").Process(target=hold, args=(alive,))
    child.start()
    child.join()


def test_a_process_ends_when_the_one_that_started_it_is_killed(tmp_path: Path) -> None:
    alive = tmp_path / "alive"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.generation.models.test_vllm_plugin", str(alive)]
    )
    try:
        wait_for(alive.exists)
    finally:
        process.kill()
        process.wait()

    def still() -> bool:
        alive.unlink(missing_ok=True)
        time.sleep(0.5)
        return not alive.exists()

    wait_for(still)


def test_vllm_finds_it() -> None:
    found = {entry.name: entry for entry in entry_points(group="vllm.general_plugins")}
    assert found["plumbline"].load() is end_with_parent


if __name__ == "__main__":
    parent(Path(sys.argv[1]))
