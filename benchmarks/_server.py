"""The product as a process: a data folder with the examples, and a server on a free port."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks._common import EXAMPLES

RAG = str(Path(sys.executable).with_name("rag"))
START_SECONDS = 60.0


@contextlib.contextmanager
def examples() -> Iterator[Mapping[str, str]]:
    """The environment of processes whose data folder holds the shipped examples."""
    with tempfile.TemporaryDirectory(prefix="plumbline-bench-") as folder:
        env = {k: v for k, v in os.environ.items() if k != "RAG_URL"} | {"RAG_DATA_DIR": folder}
        command = [RAG, "ingest", "--json", str(EXAMPLES)]
        subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
        yield env


@contextlib.contextmanager
def serving(env: Mapping[str, str]) -> Iterator[str]:
    """The URL of a server on loopback that is ready; it is stopped at the end.

    Raises:
        RuntimeError: it does not start.
    """
    command = [RAG, "serve", "--host", "127.0.0.1", "--port", "0"]
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as server:
        try:
            said = server.stderr.readline() if server.stderr else ""
            url = re.search(r"http://127\.0\.0\.1:\d+", said)
            if url is None:
                raise RuntimeError(f"`rag serve` does not say where: {said!r}")
            _wait_until_ready(url[0])
            yield url[0]
        finally:
            server.terminate()


def _wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(urllib.error.URLError):
            urllib.request.urlopen(f"{url}/readyz", timeout=5).close()
            return
        time.sleep(0.1)
    raise RuntimeError(f"{url} is not ready after {START_SECONDS:g} s")
