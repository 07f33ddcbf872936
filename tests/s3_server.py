"""A server of the S3 protocol for tests: moto's, in a process, over HTTP. It is a fake.

It stores in memory, and checks no signature. `rclone serve s3` (1.75.2), a real server that calls
itself experimental, stopped answering in these tests.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import Popen

import boto3
import httpx

from tests.ports import free_port
from tests.servers import NO_CERTIFICATES, wait_for

BUCKET = "backups"
CLIENT = {
    "AWS_ACCESS_KEY_ID": "plumbline-test",
    "AWS_SECRET_ACCESS_KEY": "not-a-secret-at-all",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@contextlib.contextmanager
def s3_server(log: Path) -> Iterator[dict[str, str]]:
    """Serves one empty bucket; yields the environment of its clients."""
    port = free_port()
    with log.open("wb") as output:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        server = Popen(command, stdout=output, stderr=output)
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        assert server.poll() is None, log.read_text()
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{url}/moto-api/", verify=NO_CERTIFICATES).is_success
        return False

    try:
        wait_for(answers)
        session = boto3.session.Session(
            aws_access_key_id=CLIENT["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CLIENT["AWS_SECRET_ACCESS_KEY"],
            region_name=CLIENT["AWS_REGION"],
        )
        session.client("s3", endpoint_url=url).create_bucket(Bucket=BUCKET)
        yield CLIENT | {"AWS_ENDPOINT_URL": url}
    finally:
        server.terminate()
        server.wait(30)
