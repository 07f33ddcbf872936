"""The product as a process: a data folder with the examples, and a server on a free port."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks._common import EXAMPLES

RAG = str(Path(sys.executable).with_name("rag"))
START_SECONDS = 120.0
PAUSE = 0.02
"""Seconds between two looks whether it is ready."""


@dataclass(frozen=True, slots=True)
class Server:
    """A `rag serve` that says where it listens."""

    url: str
    pid: int

    def wait_until_ready(self) -> None:
        """Asks `/readyz` again and again.

        Raises:
            RuntimeError: it takes too long.
        """
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):  # also a slow answer
                urllib.request.urlopen(f"{self.url}/readyz", timeout=5).close()
                return
            time.sleep(PAUSE)
        raise RuntimeError(f"{self.url} is not ready after {START_SECONDS:g} s")

    def get(self, path: str) -> dict[str, Any]:
        """The answer's JSON."""
        return _answer(urllib.request.Request(self.url + path))

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The answer's JSON."""
        headers = {"Content-Type": "application/json"}
        data = json.dumps(body).encode()
        return _answer(urllib.request.Request(self.url + path, data, headers))


def _answer(request: urllib.request.Request) -> dict[str, Any]:
    with urllib.request.urlopen(request, timeout=START_SECONDS) as response:
        answer: dict[str, Any] = json.load(response)
    return answer


@contextlib.contextmanager
def examples(rag: str = RAG) -> Iterator[Mapping[str, str]]:
    """The environment of processes whose data folder holds the examples, ingested by `rag`."""
    with tempfile.TemporaryDirectory(prefix="plumbline-bench-") as folder:
        own = {k: v for k, v in os.environ.items() if k not in ("RAG_BEFORE", "RAG_URL")}
        env = own | {"RAG_DATA_DIR": folder}
        command = [rag, "ingest", "--json", str(EXAMPLES)]
        subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
        yield env


@contextlib.contextmanager
def launched(env: Mapping[str, str], rag: str = RAG) -> Iterator[Server]:
    """A server on loopback as soon as it says where; it is stopped at the end.

    Raises:
        RuntimeError: it does not start.
    """
    command = [rag, "serve", "--host", "127.0.0.1", "--port", "0"]
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        # Its messages are read to the end: with a full pipe it would wait for ever.
        rest = threading.Thread(target=shutil.copyfileobj, args=(process.stderr, sys.stderr))
        try:
            line = process.stderr.readline()
            rest.start()
            url = re.search(r"http://127\.0\.0\.1:\d+", line)
            if url is None:
                raise RuntimeError(f"`rag serve` does not say where: {line!r}")
            yield Server(url[0], process.pid)
        finally:
            process.terminate()
            rest.join()


@contextlib.contextmanager
def serving(env: Mapping[str, str], rag: str = RAG) -> Iterator[str]:
    """The URL of a server on loopback that is ready; it is stopped at the end.

    Raises:
        RuntimeError: it does not start.
    """
    with launched(env, rag) as server:
        server.wait_until_ready()
        yield server.url
