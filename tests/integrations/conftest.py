from __future__ import annotations

from collections.abc import Iterator

import pytest

from plumbline_client import Client
from tests.integrations.documents import GARDEN, HOURS
from tests.servers import PATIENCE, Server, serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real server with a few documents."""
    with serving(tmp_path_factory.mktemp("integrations") / "data") as running:
        with Client(running.url, timeout=PATIENCE) as client:
            client.upload_files([HOURS]).wait()
            client.submit_documents([GARDEN]).wait()
        yield running


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    with Client(server.url, timeout=PATIENCE) as made:
        yield made
