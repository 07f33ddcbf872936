"""A test deployment ends with the process that started it, and fills no disk but its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rag.errors import ConfigError, UpstreamError
from rag.operations.chaos import processes
from rag.operations.chaos.deployment import SERVER, Deployment
from rag.operations.chaos.faults import disk_full
from rag.operations.chaos.keeper import Keeper
from rag.operations.chaos.processes import Process
from tests.servers import wait_for

STARTS = """
import os, signal, subprocess, sys, time
from rag.operations.chaos.keeper import Keeper
keeper = Keeper()
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
keeper.keep(child.pid)
os.kill(child.pid, signal.SIGSTOP)
print(keeper.folder, child.pid, flush=True)
time.sleep(600)
"""


def gone(pid: int) -> bool:
    """Returns True if a process has ended; one that nobody waits for may still be listed."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True
    return status.rpartition(")")[2].split()[0] == "Z"


def test_a_stopped_process_and_the_folder_end_with_a_killed_parent() -> None:
    parent = subprocess.Popen([sys.executable, "-c", STARTS], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent.stdout:
        folder, pid = parent.stdout.readline().split()
    assert Path(folder).is_dir()
    parent.kill()
    parent.wait()
    wait_for(lambda: gone(int(pid)))
    wait_for(lambda: not Path(folder).exists())


def process(keeper: Keeper, program: str) -> Process:
    return Process(
        SERVER,
        [sys.executable, "-c", program],
        dict(os.environ),
        keeper.folder / "server.log",
        keeper,
        lambda each: "ready" in each.output(),
    )


@pytest.mark.anyio
async def test_a_process_is_killed_stopped_and_started_again() -> None:
    keeper = Keeper()
    made = process(keeper, "import time; print('ready', flush=True); time.sleep(600)")
    await made.start()
    first = made.pid
    made.pause()
    wait_for(lambda: "(stopped)" in Path(f"/proc/{first}/status").read_text())
    made.kill()
    assert gone(first)
    await made.start()
    assert made.pid != first
    made.stop()
    assert made.popen is not None
    assert made.popen.returncode == -signal.SIGTERM
    keeper.close()
    assert not keeper.folder.exists()


@pytest.mark.anyio
async def test_one_that_does_not_start_tells_its_last_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(processes, "START_SECONDS", 30)
    keeper = Keeper()
    with pytest.raises(UpstreamError, match="the reason"):
        await process(keeper, "raise SystemExit('the reason')").start()
    keeper.close()


@pytest.mark.anyio
async def test_the_machine_s_disk_is_never_filled() -> None:
    keeper = Keeper()
    made = Deployment(keeper, {})
    made.data.mkdir()
    made.processes[SERVER] = process(
        keeper, "import time; print('ready', flush=True); time.sleep(9)"
    )
    await made.processes[SERVER].start()
    with pytest.raises(ConfigError, match="no small disk"):
        async with disk_full(made):
            pytest.fail("it was filled")
    assert list(made.data.iterdir()) == []
    made.processes[SERVER].stop()
    keeper.close()
