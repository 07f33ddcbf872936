"""vLLM's own HTTP servers, on the CPU, as processes."""

from __future__ import annotations

import contextlib
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import httpx

from tests.forked_vllm import VllmProcess
from tests.ports import free_port
from tests.servers import NO_CERTIFICATES, PATIENCE

SERVER = "vllm.entrypoints.openai.api_server"
ENVIRONMENT = {"VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "WARNING"}
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
    model: Path,
    count: int,
    *,
    log: Path,
    dtype: str = "float32",
    kv_cache_bytes: int = 64 << 20,
    forked: bool = False,
) -> Iterator[list[str]]:
    """Starts servers of a model under the name `tiny`, all at once; yields their addresses.

    If they are `forked`, they start in a fraction of the time, and vLLM does not tune them.
    """
    server = _forked if forked else _started
    ports = [free_port() for _ in range(count)]
    with contextlib.ExitStack() as stack:
        for port in ports:
            options = [
                *("--model", str(model), "--served-model-name", "tiny"),
                *("--host", "127.0.0.1", "--port", str(port), "--dtype", dtype, "--enforce-eager"),
                *("--kv-cache-memory-bytes", str(kv_cache_bytes)),
            ]
            stack.enter_context(server(options, log))
        for port in ports:
            _wait(port, log)
        yield [f"http://127.0.0.1:{port}/v1" for port in ports]


@contextlib.contextmanager
def _started(options: Sequence[str], log: Path) -> Iterator[None]:
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", SERVER, *options],
            stdout=output,
            stderr=output,
            env=os.environ | ENVIRONMENT,
            start_new_session=True,
        )
    try:
        yield
    finally:
        # Its engine is a process of its own, which may outlive it by seconds.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextlib.contextmanager
def _forked(options: Sequence[str], log: Path) -> Iterator[None]:
    process = VllmProcess(target=_serve, args=(options, log))
    process.start()
    try:
        yield
    finally:
        process.kill()  # its engine ends with it
        process.join()


def _serve(options: Sequence[str], log: Path) -> None:
    opened = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for stream in (1, 2):
        os.dup2(opened, stream)
    os.close(opened)
    os.environ.update(ENVIRONMENT)
    sys.argv = [SERVER, *options]
    runpy.run_module(SERVER, run_name="__main__", alter_sys=True)


def _wait(port: int, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"http://127.0.0.1:{port}/health", verify=NO_CERTIFICATES).is_success:
                return
        time.sleep(0.2)
    raise TimeoutError(f"vLLM on port {port} did not start:\n{log.read_text()[-2000:]}")
