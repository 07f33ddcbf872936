from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from rag.errors import ConfigError, UpstreamError
from rag.process.child_process import ChildProcess
from tests.waiting import until

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("new_interpreters")]

Shouter = ChildProcess[list[str], list[str]]


class Shout:
    """Upper-cases items; an item that begins with a colon is a command."""

    def __init__(self, scene: Path) -> None:
        self.about = f"shouts in {scene.name}"
        self._scene = scene
        if (scene / "refuse").exists():
            raise ConfigError("No weights here.", detail="In a folder.")
        if (scene / "die").exists():
            os._exit(7)

    def __call__(self, items: list[str]) -> list[str]:
        return [self._one(item) for item in items]

    def _one(self, item: str) -> str:
        match item:
            case ":pid":
                return str(os.getpid())
            case ":settings":
                print("noise", flush=True)
                return str([name for name in os.environ if name.startswith("RAG_")])
            case ":raise":
                raise ValueError("not a word")
            case ":die":
                os.kill(os.getpid(), signal.SIGKILL)
            case ":wait":
                (self._scene / "waiting").touch()
                while not (self._scene / "go").exists():
                    time.sleep(0.01)
            case ":die once" if not (self._scene / "died").exists():
                (self._scene / "died").touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return item.upper()


def load(scene: Path) -> Callable[[list[str]], list[str]]:
    return Shout(scene)


@pytest.fixture
def shouter(tmp_path: Path) -> Iterator[Shouter]:
    made: Shouter = ChildProcess(partial(load, tmp_path), name="shouter", lanes=2)
    yield made
    made.close()


async def pid(shouter: Shouter) -> int:
    return int((await shouter.call([":pid"]))[0])


async def test_the_model_runs_in_another_process_on_two_batches_at_once(
    shouter: Shouter, tmp_path: Path
) -> None:
    assert await pid(shouter) != os.getpid()
    waits = asyncio.create_task(shouter.call([":wait"]))
    await until((tmp_path / "waiting").exists)
    assert await shouter.call(["a", "b"]) == ["A", "B"]
    (tmp_path / "go").touch()
    assert await waits == [":WAIT"]


async def test_a_worker_says_what_it_is_and_its_process_whose_it_is(
    shouter: Shouter, tmp_path: Path
) -> None:
    assert shouter.about == f"shouts in {tmp_path.name}"
    assert "shouter" in psutil.Process(await pid(shouter)).cmdline()


async def test_it_is_told_no_settings_and_writes_nothing_among_our_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAG_CATALOG__URL", "postgresql://me:secret@db/rag")
    shouter: Shouter = ChildProcess(partial(load, tmp_path), name="shouter", lanes=1)
    assert await shouter.call([":settings"]) == ["[]"]
    shouter.close()
    assert capfd.readouterr().out == ""


async def test_a_process_that_the_machine_refuses_is_trouble_that_may_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with pytest.raises(UpstreamError, match="cannot be started: Resource temporarily unavailable"):
        ChildProcess(partial(load, tmp_path), name="shouter", lanes=2)


async def test_messages_larger_than_a_socket_holds_go_both_ways(shouter: Shouter) -> None:
    text = "x" * 5_000_000
    assert await shouter.call([text]) == [text.upper()]


async def test_what_the_model_raises_reaches_the_caller_and_the_process_goes_on(
    shouter: Shouter,
) -> None:
    before = await pid(shouter)
    with pytest.raises(ValueError, match="not a word") as caught:
        await shouter.call([":raise"])
    assert "in _one" in caught.value.__notes__[0]  # where in the process it happened
    assert await pid(shouter) == before


async def test_a_process_that_was_killed_is_started_again_and_both_batches_are_answered(
    shouter: Shouter, tmp_path: Path
) -> None:
    before = await pid(shouter)
    waits = asyncio.create_task(shouter.call([":wait"]))
    await until((tmp_path / "waiting").exists)
    (tmp_path / "go").touch()
    os.kill(before, signal.SIGKILL)
    assert await shouter.call(["a"]) == ["A"]
    assert await waits == [":WAIT"]
    assert await pid(shouter) != before


async def test_a_batch_that_kills_the_process_is_run_once_more(shouter: Shouter) -> None:
    assert await shouter.call([":die once"]) == [":DIE ONCE"]


async def test_a_batch_that_kills_the_process_twice_is_refused_and_the_next_one_served(
    shouter: Shouter,
) -> None:
    with pytest.raises(UpstreamError, match="shouter ended twice over one call"):
        await shouter.call([":die"])
    assert await shouter.call(["a"]) == ["A"]


async def test_a_process_that_cannot_be_started_again_is_reported_until_it_can(
    shouter: Shouter, tmp_path: Path
) -> None:
    (tmp_path / "refuse").touch()
    os.kill(await pid(shouter), signal.SIGKILL)
    message = r"shouter cannot be started again: No weights here\.$"
    with pytest.raises(UpstreamError, match=message) as caught:
        await shouter.call(["a"])
    assert caught.value.in_full().endswith("No weights here. In a folder.")
    (tmp_path / "refuse").unlink()
    assert await shouter.call(["a"]) == ["A"]


async def test_a_cancelled_batch_leaves_no_half_answer_for_the_next(
    shouter: Shouter, tmp_path: Path
) -> None:
    task = asyncio.create_task(shouter.call([":wait"]))
    await until((tmp_path / "waiting").exists)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (tmp_path / "go").touch()
    assert [await shouter.call([word]) for word in ("a", "b", "c")] == [["A"], ["B"], ["C"]]


async def test_a_call_that_takes_too_long_ends_the_process_and_the_next_one_has_another(
    tmp_path: Path,
) -> None:
    shouter: Shouter = ChildProcess(partial(load, tmp_path), name="shouter", lanes=1, seconds=0.5)
    before = await pid(shouter)
    with pytest.raises(TimeoutError):
        await shouter.call([":wait"])
    assert await pid(shouter) != before
    shouter.close()


async def test_it_serves_one_event_loop_after_another(shouter: Shouter) -> None:
    assert await shouter.call(["here"]) == ["HERE"]
    assert await asyncio.to_thread(asyncio.run, shouter.call(["there"])) == ["THERE"]


async def test_the_error_of_loading_is_raised_and_no_process_stays(tmp_path: Path) -> None:
    before = psutil.Process().children()
    (tmp_path / "refuse").touch()
    with pytest.raises(ConfigError, match="No weights here"):
        ChildProcess(partial(load, tmp_path), name="shouter", lanes=2)
    (tmp_path / "refuse").unlink()
    (tmp_path / "die").touch()
    with pytest.raises(UpstreamError, match=r"ended as it was loaded \(exit code 7\)"):
        ChildProcess(partial(load, tmp_path), name="shouter", lanes=2)
    assert psutil.Process().children() == before


async def test_close_ends_the_process_and_none_is_started_for_what_was_under_way(
    tmp_path: Path,
) -> None:
    before = psutil.Process().children()
    shouter: Shouter = ChildProcess(partial(load, tmp_path), name="shouter", lanes=2)
    waits = asyncio.create_task(shouter.call([":wait"]))
    await until((tmp_path / "waiting").exists)
    shouter.close()
    with pytest.raises(UpstreamError, match="shouter is closed"):
        await waits
    assert psutil.Process().children() == before


def test_what_lies_in_the_folder_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("json", "queue", "ingest"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('not ours')\n")
    monkeypatch.chdir(tmp_path)
    shouter = ChildProcess(partial(load, tmp_path), name="shouter", lanes=1)
    shouter.close()


def test_the_process_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path;"
        "from tests.rag.process.test_child_process import *;"
        "shouter = ChildProcess(partial(load, Path(sys.argv[1])), name='shouter', lanes=1);"
        "print(asyncio.run(pid(shouter)), flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert psutil.pid_exists(child)
        parent.kill()
    asyncio.run(until(lambda: not psutil.pid_exists(child)))
