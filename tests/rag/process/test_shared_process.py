from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import psutil
import pytest

from rag.errors import ConfigError
from rag.process.pickled_messages import message
from rag.process.shared_process import SharedProcess
from tests.waiting import until

pytestmark = pytest.mark.anyio
Items = list[str]
Shared = SharedProcess[Items, Items]


class Worker:
    """Answers with its process; `wait` waits for a file, and counts how many wait."""

    def __init__(self, scene: Path) -> None:
        self.about = {"scene": scene}
        self._scene = scene
        if (scene / "refuse").exists():
            raise ConfigError("No weights here.")

    def __call__(self, items: Items) -> Items:
        (item,) = items
        if item.startswith("wait"):
            (self._scene / f"{item}.waits").touch()
            while not (self._scene / "go").exists():
                time.sleep(0.01)
        return [str(os.getpid())]


def load(scene: Path) -> Callable[[Items], Items]:
    return Worker(scene)


def joined(scene: Path, lanes: int = 2) -> Shared:
    return SharedProcess(partial(load, scene), name="worker", lanes=lanes, sharers=2, folder=scene)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Shared, Shared]]:
    with ExitStack() as stack:
        made = joined(tmp_path), joined(tmp_path)
        for each in made:
            stack.callback(each.close)
        yield made


async def pid(shared: Shared) -> int:
    return int((await shared.call(["pid"]))[0])


async def test_two_have_one_process_until_the_last_has_left(
    pair: tuple[Shared, Shared], tmp_path: Path
) -> None:
    first, second = pair
    process = psutil.Process(await pid(first))
    assert await pid(second) == process.pid != os.getpid()
    assert first.about == second.about == {"scene": tmp_path}
    first.close()  # which has started it
    assert await pid(second) == process.pid
    second.close()
    await asyncio.to_thread(process.wait, 10)


async def test_one_that_is_killed_is_started_again_once_for_all(
    pair: tuple[Shared, Shared], tmp_path: Path
) -> None:
    before = await pid(pair[0])
    calls = [asyncio.create_task(each.call([f"wait{n}"])) for n, each in enumerate(pair)]
    await until(lambda: waiting(tmp_path) == 2)
    psutil.Process(before).kill()
    (tmp_path / "go").touch()
    after = {int(found) for (found,) in await asyncio.gather(*calls)}
    assert len(after) == 1
    assert after != {before}
    assert {await pid(each) for each in pair} == after


async def test_no_more_calls_run_at_once_than_one_caller_may_make(tmp_path: Path) -> None:
    with ExitStack() as stack:
        made = [joined(tmp_path, lanes=1) for _ in range(2)]
        for each in made:
            stack.callback(each.close)
        calls = [asyncio.create_task(each.call([f"wait{n}"])) for n, each in enumerate(made)]
        await until(lambda: waiting(tmp_path) > 0)
        await asyncio.sleep(0.1)
        assert waiting(tmp_path) == 1
        (tmp_path / "go").touch()
        await asyncio.gather(*calls)


def test_each_learns_why_the_worker_cannot_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "refuse").touch()
    for _ in range(2):
        with pytest.raises(ConfigError, match="No weights here"):
            joined(tmp_path)
    (tmp_path / "refuse").unlink()
    joined(tmp_path).close()


async def test_it_outlives_the_process_that_has_started_it(tmp_path: Path) -> None:
    code = "import sys, pathlib, tests.rag.process.test_shared_process as t;"
    code += "shared = t.joined(pathlib.Path(sys.argv[1])); print(); sys.stdin.read()"
    with starting(sys.executable, "-c", code, str(tmp_path)) as starter:
        (child,) = psutil.Process(starter.pid).children()
        second = joined(tmp_path)
        starter.kill()
        starter.wait()
        try:
            assert await pid(second) == child.pid
        finally:
            second.close()
    await until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


async def test_a_caller_that_ends_amid_a_message_has_left(
    pair: tuple[Shared, Shared],
) -> None:
    first, second = pair
    process = psutil.Process(await pid(first))
    second._child.idle[0].send(message(["pid" * 1000])[:100])
    for each in pair:
        each.close()
    await asyncio.to_thread(process.wait, 10)


async def test_a_process_may_have_more_than_a_thousand_files_open(tmp_path: Path) -> None:
    code = "import sys, pathlib, os, asyncio, tests.rag.process.test_shared_process as t;"
    code += "some = [os.dup(0) for _ in range(1100)];"
    code += "shared = t.joined(pathlib.Path(sys.argv[1])); print(asyncio.run(t.pid(shared)));"
    code += "shared.close()"
    command = [sys.executable, "-c", code, str(tmp_path)]
    limits = partial(resource.setrlimit, resource.RLIMIT_NOFILE, (2048, 2048))
    ran = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, check=False, preexec_fn=limits
    )
    assert ran.stdout.strip().isdigit(), ran.stderr


@contextmanager
def starting(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    """Yields a process that has written a line."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        yield process


def waiting(scene: Path) -> int:
    return len(list(scene.glob("*.waits")))
