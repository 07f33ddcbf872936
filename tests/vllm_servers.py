"""vLLM's own HTTP servers, on the CPU, as processes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import httpx

from tests.servers import PATIENCE, free_port

MISSING = next(
    (
        name
        for name in (
            "vllm",
            "prometheus_fastapi_instrumentator",
            "model_hosting_container_standards",
        )
        if find_spec(name) is None
    ),
    None,
)
"""A module that vLLM's server needs and that is not installed; None if all are."""


@contextlib.contextmanager
def vllm_servers(
    model: Path, count: int, *, log: Path, dtype: str = "float32", kv_cache_bytes: int = 64 << 20
) -> Iterator[list[str]]:
    """Starts servers of a model under the name `tiny`, all at once; yields their addresses."""
    ports = [free_port() for _ in range(count)]
    with contextlib.ExitStack() as stack:
        for port in ports:
            stack.enter_context(_server(model, port, log, dtype, kv_cache_bytes))
        for port in ports:
            _wait(port, log)
        yield [f"http://127.0.0.1:{port}/v1" for port in ports]


@contextlib.contextmanager
def _server(model: Path, port: int, log: Path, dtype: str, kv_cache_bytes: int) -> Iterator[None]:
    command = [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server"),
        *("--model", str(model), "--served-model-name", "tiny"),
        *("--host", "127.0.0.1", "--port", str(port), "--dtype", dtype, "--enforce-eager"),
        *("--kv-cache-memory-bytes", str(kv_cache_bytes)),
    ]
    env = os.environ | {"VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "WARNING"}
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env=env, start_new_session=True
        )
    try:
        yield
    finally:
        # Its engine is a process of its own, which may outlive it by seconds.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait(port: int, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"http://127.0.0.1:{port}/health").is_success:
                return
        time.sleep(0.2)
    raise TimeoutError(f"vLLM on port {port} did not start:\n{log.read_text()[-2000:]}")
