"""A test deployment: the service's own processes, and what they need, in a folder of its own.

All listen on loopback alone, hold made-up texts, and end with the process that started them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from urllib.request import urlopen

from rag.errors import ConfigError
from rag.operations.chaos import servers
from rag.operations.chaos.engine import MODEL
from rag.operations.chaos.keeper import Keeper
from rag.operations.chaos.processes import Process, free_port, listens
from rag.operations.chaos.proxy import LOOPBACK, Proxy

SERVER, BROKER = "server", "broker"
ENGINES, WORKERS = ("engine-a", "engine-b"), ("worker-a", "worker-b")
SMALL_MB = 256
"""Size of the disk of a deployment that gets a small one: an empty index needs some 70 MB."""
VISIBILITY_SECONDS = 5
"""`queue.visibility_seconds`, the least: an experiment waits for what the broker gives again."""
_OTHERS = ("RAG_", "LANGFUSE_", "OTEL_", "OPENAI_")
_FAKETIME = "/usr/lib/*/faketime/libfaketimeMT.so.1"
_RAG = (sys.executable, "-m", "rag.cli.main")
_OK = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Qdrant:
    """A Qdrant server on this machine, for the deployments with workers."""

    url: str
    grpc_port: int


@dataclass(slots=True)
class Deployment:
    """A running test deployment.

    Attributes:
        keeper: ends all of it, and has its folder.
        url: where the service is called.
        processes: the service's and what they need.
        proxies: between a process and what it needs.
        clock: the file with the offset of the clock of the process whose clock moves.
    """

    keeper: Keeper
    env: dict[str, str]
    url: str = ""
    processes: dict[str, Process] = field(default_factory=dict)
    proxies: dict[str, Proxy] = field(default_factory=dict)

    @property
    def data(self) -> Path:
        """The data folder, as the service's processes name it."""
        return self.keeper.folder / "data"

    @property
    def clock(self) -> Path:
        """The file with the offset of the clock of the process whose clock moves."""
        return self.keeper.folder / "clock"

    def process(
        self,
        name: str,
        command: Sequence[str],
        ready: Callable[[Process], bool],
        extra: Mapping[str, str] = MappingProxyType({}),
    ) -> Process:
        """Returns a new process of it, not started yet; `extra` is added to its environment."""
        log = self.keeper.folder / f"{name}.log"
        env = self.env | dict(extra)
        self.processes[name] = made = Process(name, command, env, log, self.keeper, ready)
        return made


@contextlib.asynccontextmanager
async def single(*, engines: bool = False, small: bool = False) -> AsyncIterator[Deployment]:
    """Runs one `rag serve` with everything embedded.

    Args:
        engines: a language model writes the answers, and two stand-ins serve it.
        small: the data folder is a small disk of its own.

    Raises:
        ConfigError: No disk can be mounted here.
        UpstreamError: A process did not start.
    """
    async with _deployment() as made:
        command: tuple[str, ...] = ()
        if engines:
            await _start_engines(made)
        if small:
            command = _with_disk(made.data)
        await _start_server(made, command)
        yield made


@contextlib.asynccontextmanager
async def cluster(qdrant: Qdrant, *, clock: bool = False) -> AsyncIterator[Deployment]:
    """Runs `rag serve` and two `rag worker` on PostgreSQL, Redis and a Qdrant server.

    The proxy `index` is between all of them and Qdrant, `catalog` between the second worker and
    PostgreSQL. With `clock`, the second worker has a clock of its own.

    Raises:
        ConfigError: A program is not installed here.
        UpstreamError: A process did not start.
    """
    async with _deployment() as made, contextlib.AsyncExitStack() as stack:
        database, port, password = servers.postgres(made.keeper, made.env)
        broker, broker_port, broker_password = servers.redis(made.keeper, made.env)
        made.processes |= {"catalog": database, BROKER: broker}
        await asyncio.gather(database.start(), broker.start())
        for name, target in (("index", qdrant.grpc_port), ("catalog", port)):
            made.proxies[name] = await stack.enter_async_context(Proxy(target).listening())
        made.env |= {
            "RAG_CATALOG__KIND": "postgres",
            "RAG_CATALOG__URL": servers.postgres_url(port, password),
            "RAG_QUEUE__KIND": "celery",
            "RAG_QUEUE__BROKER_URL": servers.redis_url(broker_port, broker_password),
            "RAG_QUEUE__VISIBILITY_SECONDS": str(VISIBILITY_SECONDS),
            "RAG_INDEX__KIND": "qdrant",
            "RAG_INDEX__URL": qdrant.url,
            "RAG_INDEX__GRPC_PORT": str(made.proxies["index"].port),
            "RAG_INDEX__PREFIX": f"chaos_{secrets.token_hex(4)}_",
        }
        await _start_server(made, ())
        behind = {"RAG_CATALOG__URL": servers.postgres_url(made.proxies["catalog"].port, password)}
        moved = _with_clock(made) if clock else {}
        first, second = (
            made.process(name, [*_RAG, "worker"], _takes_tasks, extra)
            for name, extra in zip(WORKERS, ({}, behind | moved), strict=True)
        )
        await asyncio.gather(first.start(), second.start())
        yield made


@contextlib.asynccontextmanager
async def _deployment() -> AsyncIterator[Deployment]:
    """Yields an empty one; what was started ends with the block."""
    keeper = Keeper()
    try:
        env = {n: v for n, v in os.environ.items() if not n.upper().startswith(_OTHERS)}
        # A new folder has no rag.toml, and nothing of the caller's settings is in the environment.
        env |= {"RAG_DATA_DIR": str(keeper.folder / "data"), "XDG_STATE_HOME": str(keeper.folder)}
        made = Deployment(keeper, env)
        made.data.mkdir(mode=0o700)
        try:
            yield made
        finally:
            for process in reversed(made.processes.values()):
                await asyncio.to_thread(process.stop)
    finally:
        keeper.close()


async def _start_engines(made: Deployment) -> None:
    urls = []
    for name in ENGINES:
        port = free_port()
        command = [sys.executable, "-m", "rag.operations.chaos.engine", str(port)]
        await made.process(name, command, partial(_listens, port)).start()
        urls.append(f"http://{LOOPBACK}:{port}/v1")
    made.env |= {
        "RAG_GENERATOR__KIND": "openai",
        "RAG_GENERATOR__MODEL": MODEL,
        "RAG_GENERATOR__REPLICAS": json.dumps(urls),
    }


async def _start_server(made: Deployment, within: tuple[str, ...]) -> None:
    port = free_port()
    made.url = f"http://{LOOPBACK}:{port}"
    command = [*within, *_RAG, "serve", "--host", LOOPBACK, "--port", str(port)]
    await made.process(SERVER, command, lambda _: _is_ready(made.url)).start()


def _takes_tasks(worker: Process) -> bool:
    return "ready." in worker.output()


def _with_disk(folder: Path) -> tuple[str, ...]:
    """Returns the command that runs another one with a small disk in a folder.

    The disk is in memory, and in a mount namespace of the process alone: it ends with it.
    """
    unshare = shutil.which("unshare")
    if unshare is None:
        raise ConfigError("This experiment mounts a disk with `unshare`, of util-linux.")
    mapped = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    mount = f'mount -t tmpfs -o size={SMALL_MB}m,mode=0700 tmpfs "$0" && exec "$@"'
    return (unshare, *mapped, "--mount", "sh", "-c", mount, str(folder))


def _with_clock(made: Deployment) -> dict[str, str]:
    """Returns the environment of a process whose clock is read from `Deployment.clock`."""
    libraries = sorted(Path("/").glob(_FAKETIME.lstrip("/")))
    named = os.environ.get("LIBFAKETIME") or (str(libraries[0]) if libraries else "")
    if not named:
        raise ConfigError(
            "This experiment moves a process's clock with libfaketime, which is not installed:"
            " `apt-get install libfaketime`, or name the library in LIBFAKETIME."
        )
    made.clock.write_text("+0")
    return {
        "LD_PRELOAD": named,
        "FAKETIME_TIMESTAMP_FILE": str(made.clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }


def _listens(port: int, _: Process) -> bool:
    return listens(port)


def _is_ready(url: str) -> bool:
    try:
        with urlopen(f"{url}/readyz", timeout=1) as answer:  # noqa: S310 - it begins with http:
            return bool(answer.status == _OK)
    except OSError:
        return False
