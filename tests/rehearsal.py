"""A dress rehearsal of a rolling update on one machine, without a cluster.

Processes, probes, signals and their order are those of the chart: a new process gets requests once
`/readyz` answers 200; an old one is served on to for a while, as load balancers learn of it, then
gets SIGTERM and its time to end. Only the times are shorter.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.forked import Process
from tests.places import ROOT
from tests.ports import free_port
from tests.postgres import PostgresServer
from tests.redis_server import RedisServer
from tests.servers import PATIENCE, Json, cluster_settings, start
from tests.waiting import until

LAG_SECONDS = 0.3
"""Seconds in which a load balancer learns that a process is about to stop."""
PRE_STOP_SECONDS = 0.6
"""Seconds from then to SIGTERM: `lifecycle.preStop` of the chart."""
PROBE_SECONDS = 0.1
CLIENTS = 16
WRITERS = 4
"""Clients of these that submit documents; the others ask."""
WRITER_PAUSES = 5
"""Pauses of a client that submits documents, for one of another: a worker keeps up with them."""
TOPICS = ("lamps", "wells", "ships", "looms")


def settings(postgres: PostgresServer, broker: RedisServer, index_port: int) -> dict[str, str]:
    """Returns the environment of processes on new storage."""
    return {
        **cluster_settings(
            index_port=index_port, catalog_url=postgres.new_database(), broker_url=broker.url
        ),
        "RAG_PROFILE": "fast",
        "RAG_QUEUE__VISIBILITY_SECONDS": "5",
        "RAG_LIMITS__QUERY_SECONDS": f"{PATIENCE:g}",  # a busy machine fails no request
    }


@contextlib.contextmanager
def qdrant() -> Iterator[int]:
    """Runs the stand-in for Qdrant as a process, which takes nothing from the clients' loop."""
    command = (sys.executable, "-m", "benchmarks._qdrant_servers", "local")
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


class Balancer:
    """Passes each connection on to the next of its backends; a client has one for each request.

    If a backend cannot be reached, the one after it is asked, as ingress controllers do by default.
    """

    def __init__(self) -> None:
        self._backends: list[int] = []
        self._next = 0
        self.port = 0
        self.in_flight: Counter[int] = Counter()
        """Requests in flight, by the port of their backend."""
        self.sent: Counter[int] = Counter()
        """Requests passed on so far, in the same way."""

    def add(self, port: int) -> None:
        self._backends.append(port)

    def remove(self, port: int) -> None:
        self._backends.remove(port)

    @contextlib.asynccontextmanager
    async def started(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._next += 1
        turn = self._next % len(self._backends)
        for port in self._backends[turn:] + self._backends[:turn]:
            with contextlib.suppress(OSError):
                behind, before = await asyncio.open_connection("127.0.0.1", port)
                break
        else:
            writer.close()  # the client sees a connection without an answer
            return
        self.in_flight[port] += 1
        self.sent[port] += 1
        try:
            await asyncio.gather(_copy(reader, before), _copy(behind, writer))
        finally:
            self.in_flight[port] -= 1
            before.close()
            writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    if writer.can_write_eof():
        with contextlib.suppress(OSError):
            writer.write_eof()


async def request(port: int, method: str, path: str, body: Json | None = None) -> tuple[int, bytes]:
    """Sends one request on a connection of its own; returns status and body.

    Raises:
        OSError: The connection failed, or ended without an answer.
    """
    content = json.dumps(body).encode() if body else b""
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(head.encode() + content)
        answer = await reader.read()
    finally:
        writer.close()
    if not answer:
        raise ConnectionResetError("no answer")
    top, _, rest = answer.partition(b"\r\n\r\n")
    return int(top[9:12]), rest


@dataclass
class Load:
    """Clients that ask and submit documents, one request after another, until they are stopped."""

    port: int
    pause: float
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[float, str]] = field(default_factory=list)
    """Moments and reasons."""
    latencies: list[float] = field(default_factory=list)
    accepted: dict[str, str] = field(default_factory=dict)
    """Jobs by the ids of documents that were accepted."""
    unsure: set[str] = field(default_factory=set)
    """Documents whose submission failed: they may have been accepted."""
    in_flight: int = 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        stopped = asyncio.Event()
        clients = [asyncio.create_task(self._client(n, stopped)) for n in range(CLIENTS)]
        try:
            yield
        finally:
            stopped.set()
            await asyncio.gather(*clients)

    async def prepare(self) -> None:
        """Submits a document, and waits until questions find it."""
        await self._submit("first")

        async def found() -> bool:
            status, content = await request(self.port, "POST", "/v1/search", {"query": "lamps"})
            return status == 200 and bool(json.loads(content)["hits"])

        await until(found, pause=0.1)

    async def answered(self, count: int) -> None:
        """Waits until so many requests have succeeded."""
        await until(lambda: sum(self.outcomes.values()) >= count)

    async def _client(self, number: int, stopped: asyncio.Event) -> None:
        count = 0
        while not stopped.is_set():
            name = f"{number}-{count}"
            count += 1
            if number < WRITERS:
                await self._submit(name)
                await asyncio.sleep((WRITER_PAUSES - 1) * self.pause)
            else:
                topic = TOPICS[count % len(TOPICS)]
                body = {"query": f"How many {topic} are in house {name}?"}
                kind = "search" if number % 2 else "query"
                await self._send(kind, f"/v1/{kind}", body)
            await asyncio.sleep(self.pause)

    async def _submit(self, name: str) -> None:
        content = await self._send("submit", "/v1/documents", {"documents": [document(name)]})
        if content is None:
            self.unsure.add(name)
        else:
            self.accepted[name] = json.loads(content)["job_id"]

    async def _send(self, kind: str, path: str, body: Json) -> bytes | None:
        """Returns the answer of a request that succeeded."""
        self.in_flight += 1
        began = time.monotonic()
        try:
            status, content = await request(self.port, "POST", path, body)
        except OSError as error:
            self.failures.append((time.monotonic(), repr(error)))
            return None
        finally:
            self.in_flight -= 1
        self.latencies.append(time.monotonic() - began)
        if status not in (200, 202):
            self.failures.append((time.monotonic(), f"{status} {content[-200:]!r}"))
            return None
        self.outcomes[kind] += 1
        return content


def document(name: str) -> Json:
    """A document of one chunk."""
    number = sum(map(ord, name))
    words = " ".join(f"House {name} has {number + i} {topic}." for i, topic in enumerate(TOPICS))
    return {"id": name, "text": words}


@dataclass(frozen=True)
class Pod:
    """A process with the port on which it is probed."""

    process: Process
    port: int


class Cluster:
    """Processes of `rag` on shared servers, behind a balancer."""

    def __init__(
        self, folder: Path, settings: Mapping[str, str], command: Sequence[str] = ()
    ) -> None:
        """See `tests.servers.start` for `command`."""
        self._folder = folder
        self._settings = settings
        self._command = command
        self._balancer = Balancer()
        self.apis: list[Pod] = []
        self.workers: list[Pod] = []
        self.stops: list[float] = []
        """Seconds from SIGTERM to the end of each process that was stopped."""

    @property
    def port(self) -> int:
        return self._balancer.port

    @contextlib.asynccontextmanager
    async def started(self, *, apis: int = 2, workers: int = 1) -> AsyncIterator[None]:
        """Starts the processes; the block begins once all of them are ready."""
        async with self._balancer.started():
            try:
                await asyncio.gather(
                    *(self.add_api() for _ in range(apis)),
                    *(self.add_worker() for _ in range(workers)),
                )
                yield
            finally:
                for pod in (*self.apis, *self.workers):
                    pod.process.terminate()
                for pod in (*self.apis, *self.workers):
                    await asyncio.to_thread(pod.process.wait, PATIENCE)

    async def add_api(self) -> None:
        pod = self._start("serve", "--port", port=free_port(), env={})
        self.apis.append(pod)
        await self._ready(pod, "/readyz")
        self._balancer.add(pod.port)

    async def add_worker(self) -> None:
        port = free_port()
        pod = self._start("worker", port=port, env={"RAG_QUEUE__METRICS_PORT": str(port)})
        self.workers.append(pod)
        await self._ready(pod, "/metrics")

    async def update_apis(self) -> None:
        """Replaces each server by a new one, which is ready before the old one is told to go."""
        for old in list(self.apis):
            await self.add_api()
            await self.stop_api(old)

    async def update_workers(self) -> None:
        """Replaces each worker in the same way."""
        for old in list(self.workers):
            await self.add_worker()
            self.workers.remove(old)
            await self._stop(old)

    async def stop_api(self, pod: Pod) -> None:
        """Stops a server as Kubernetes does: it leaves the endpoints, and gets SIGTERM later."""
        self.apis.remove(pod)
        await asyncio.sleep(LAG_SECONDS)
        self._balancer.remove(pod.port)
        await asyncio.sleep(PRE_STOP_SECONDS - LAG_SECONDS)
        await self._stop(pod)

    async def kill_api(self) -> int:
        """Kills a server; returns the number of requests that it had, or got until it was gone."""
        pod = self.apis.pop(0)
        sent = self._balancer.sent[pod.port] - self._balancer.in_flight[pod.port]
        pod.process.kill()
        await asyncio.to_thread(pod.process.wait, PATIENCE)
        in_flight = self._balancer.sent[pod.port] - sent
        await asyncio.sleep(LAG_SECONDS)  # until a probe has found it
        self._balancer.remove(pod.port)
        await self.add_api()
        return in_flight

    async def kill_worker(self) -> None:
        pod = self.workers.pop(0)
        pod.process.kill()
        await self.add_worker()

    def _start(self, *arguments: str, port: int, env: Mapping[str, str]) -> Pod:
        named = [*arguments, str(port)] if arguments[-1] == "--port" else arguments
        settings = {**self._settings, **env}
        log = self._folder / f"{arguments[0]}-{port}.log"
        data = self._folder / "data"
        return Pod(start(*named, data=data, log=log, env=settings, command=self._command), port)

    async def _ready(self, pod: Pod, path: str) -> None:
        async def probe() -> bool:
            assert pod.process.poll() is None, self.logs()
            with contextlib.suppress(OSError):
                return (await request(pod.port, "GET", path))[0] == 200
            return False

        await until(probe, pause=PROBE_SECONDS)

    async def _stop(self, pod: Pod) -> None:
        began = time.monotonic()
        pod.process.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(pod.process.wait, PATIENCE)
        self.stops.append(time.monotonic() - began)
        assert code in (0, -signal.SIGTERM), self.logs()

    def logs(self) -> str:
        """Returns what all processes have logged."""
        return "\n".join(path.read_text() for path in sorted(self._folder.glob("*.log")))


async def stored(port: int, load: Load) -> tuple[set[str], set[str]]:
    """Waits for the accepted documents; returns those that are lost and those that are doubled."""
    for job in load.accepted.values():

        async def ended(job: str = job) -> bool:
            state = json.loads((await request(port, "GET", f"/v1/jobs/{job}"))[1])["state"]
            return state not in ("pending", "running")

        await until(ended, pause=0.1)
    _, content = await request(port, "GET", "/v1/documents?limit=1000")
    page = json.loads(content)
    found: Counter[str] = Counter()
    while True:
        for each in page["documents"]:
            found[each["id"]] += each["chunks"] if each["state"] == "succeeded" else 0
        if page["next_cursor"] is None:
            break
        _, content = await request(
            port, "GET", f"/v1/documents?limit=1000&cursor={page['next_cursor']}"
        )
        page = json.loads(content)
    lost = {name for name in load.accepted if found[name] < 1}
    strangers = found.keys() - load.accepted.keys() - load.unsure
    doubled = {name for name, chunks in found.items() if chunks > 1} | strangers
    return lost, doubled
