"""A real server of the S3 protocol for tests: rclone's, from a wheel, over a folder.

It checks signatures, as any does. Its own documentation calls it experimental.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx

from tests.servers import free_port, wait_for

BUCKET = "backups"
ACCESS, SECRET = "plumbline-test", "not-a-secret-at-all"


@contextlib.contextmanager
def s3_server(folder: Path) -> Iterator[dict[str, str]]:
    """Serves a folder with one bucket; yields the environment of its clients."""
    (folder / BUCKET).mkdir(parents=True)
    port = free_port()
    log = folder.parent / "s3.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [
                str(Path(sys.executable).with_name("rclone")),
                "serve",
                "s3",
                str(folder),
                *("--addr", f"127.0.0.1:{port}", "--auth-key", f"{ACCESS},{SECRET}"),
                *("--vfs-cache-mode", "off", "--config", "", "--dir-cache-time", "0s"),
            ],
            stdout=output,
            stderr=output,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: _answers(url, server, log))
        yield {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": ACCESS,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
        }
    finally:
        server.terminate()
        server.wait(30)


def _answers(url: str, server: subprocess.Popen[bytes], log: Path) -> bool:
    assert server.poll() is None, log.read_text()
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(url).status_code < 500
    return False
