"""The image `plumbline-rag` in a container engine, as confined as compose.yaml has it.

`make image-test` builds it and runs these tests; they are in no other run.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shlex
import signal
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from tests.compose import needs_compose, project, secrets
from tests.ports import free_port
from tests.repository.test_dockerfile import locked
from tests.servers import PATIENCE, Json, finished, wait_for

pytestmark = [pytest.mark.image, needs_compose]

IMAGE = "plumbline-rag"
ENGINE = shlex.split(os.environ.get("PLUMBLINE_ENGINE", "docker"))
EMBEDDED = {"RAG_CONFIG": "", "RAG_DATA_DIR": "/data", "RAG_SERVER__HOST": "0.0.0.0",
            "RAG_GATEWAY__ENABLED": "true"}  # fmt: skip
"""One process does everything: no other image is needed."""
OF_EXTRAS = ("asyncpg", "celery", "jwt", "langfuse", "mcp", "openai", "opentelemetry.sdk",
             "qdrant_client", "redis")  # fmt: skip


def engine(*arguments: str) -> str:
    """Runs the container engine; returns its output."""
    ran = subprocess.run(
        [*ENGINE, *arguments], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def confinement() -> list[str]:
    """Returns the options of `run` that stand for those of compose.yaml's service `api`."""
    service = project(secrets())["services"]["api"]
    limits = service["deploy"]["resources"]["limits"]
    assert service["read_only"]
    return [
        "--read-only",
        *(f"--cap-drop={each}" for each in service["cap_drop"]),
        *(f"--security-opt={each.partition(':')[0]}" for each in service["security_opt"]),
        *(f"--tmpfs={each}" for each in service["tmpfs"]),
        f"--memory={limits['memory']}",
        f"--pids-limit={limits['pids']}",
        "--ulimit=nofile=8192:8192",
        "--ulimit=nproc=4096:4096",  # an engine without CAP_SYS_RESOURCE cannot raise its own
    ]


@dataclass(frozen=True, slots=True)
class Container:
    name: str
    port: int
    key: str

    def run(self, *command: str) -> str:
        return engine("exec", self.name, *command)

    def client(self) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.key}"}
        return httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}", headers=headers, timeout=PATIENCE
        )

    def is_ready(self) -> bool:
        with contextlib.suppress(httpx.NetworkError, httpx.RemoteProtocolError):
            return httpx.get(f"http://127.0.0.1:{self.port}/readyz").status_code == 200
        return False


@pytest.fixture(scope="module")
def container() -> Iterator[Container]:
    name, port = f"plumbline-{uuid.uuid4().hex[:8]}", free_port()
    engine(
        "run", "--detach", "--name", name, "--publish", f"127.0.0.1:{port}:8000",
        "--volume", f"{name}:/data", *confinement(),
        *(f"--env={key}={value}" for key, value in EMBEDDED.items()), IMAGE,
    )  # fmt: skip
    try:
        wait_for(Container(name, port, "").is_ready)
        scopes = "admin,ask,read,write,metrics"
        key = engine("exec", name, "rag", "keys", "create", "admin", "--scopes", scopes).strip()
        yield Container(name, port, key.splitlines()[-1])
    finally:
        engine("rm", "--force", name)
        engine("volume", "rm", "--force", name)


def picture(text: str) -> bytes:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 2), dpi=150)
    figure.text(0.05, 0.4, text, fontsize=28)
    target = io.BytesIO()
    figure.savefig(target, format="png")
    return target.getvalue()


def test_it_answers_from_a_text_and_from_a_picture(container: Container) -> None:
    with container.client() as http:
        files = [
            ("files", ("harbour.txt", b"The harbour opens at 6 in the morning.")),
            ("files", ("bakery.png", picture("The bakery sells 40 loaves"))),
        ]
        job = finished(http, http.post("/v1/documents", files=files))
        assert job["state"] == "succeeded", job
        answer = http.post("/v1/query", json={"query": "When does the harbour open?"}).json()
        assert "6 in the morning" in answer["answer"]
        answer = http.post("/v1/query", json={"query": "How many loaves does it sell?"}).json()
        assert "40 loaves" in answer["answer"]


def test_nobody_is_root_and_only_data_and_tmp_are_written(container: Container) -> None:
    assert container.run("id", "-u").strip() == "1000"
    status = dict(
        line.split(":\t", 1)
        for line in container.run("cat", "/proc/self/status").splitlines()
        if ":\t" in line
    )
    assert {status[f"Cap{each}"] for each in ("Eff", "Prm", "Bnd", "Inh")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"
    folders = "/ /app /opt/plumbline /etc /usr /var/lib /data /tmp"
    script = f"for d in {folders}; do touch $d/x 2>/dev/null && echo $d; done; true"
    assert container.run("sh", "-c", script).split() == ["/data", "/tmp"]


def test_an_orphan_that_ends_is_removed(container: Container) -> None:
    """The shell ends before its child, which then is the first process's."""
    container.run("sh", "-c", "sleep 0.1 >/dev/null 2>&1 &")
    names = "cat /proc/[0-9]*/comm || true"  # also those of processes that have ended
    wait_for(lambda: "sleep" not in container.run("sh", "-c", names))


def test_its_health_check_succeeds(container: Container) -> None:
    (image,) = json.loads(engine("image", "inspect", IMAGE))
    check = (image.get("Healthcheck") or image["Config"]["Healthcheck"])["Test"]
    assert check[0] == "CMD"
    container.run(*check[1:])
    print(f"{image['Size'] / 1e6:.0f} MB")


def test_it_has_the_locked_packages_and_no_installer(container: Container) -> None:
    script = (
        "import importlib.metadata as m, json;"
        "print(json.dumps({d.name.lower().replace('_', '-').replace('.', '-'): d.version"
        " for d in m.distributions()}))"
    )
    found: Json = json.loads(container.run("python", "-c", script))
    assert found.pop("plumbline-rag")
    versions = {name: version for name, (version, _) in locked("cpu").items()}
    assert found.items() <= versions.items()
    assert set(versions) - set(found) <= {  # of other platforms
        "async-timeout", "colorama", "httpx2-jsfetch", "pywin32", "tzdata",
    }  # fmt: skip
    container.run("python", "-c", "import " + ", ".join(OF_EXTRAS))


def test_it_stops_at_once_and_starts_with_its_documents(container: Container) -> None:
    engine("stop", "--time", "60", container.name)
    (state,) = json.loads(engine("container", "inspect", container.name))
    assert state["State"]["ExitCode"] == 128 + signal.SIGTERM  # uvicorn ends by the signal it got
    assert not state["State"]["OOMKilled"]
    engine("start", container.name)
    wait_for(container.is_ready)
    with container.client() as http:
        answer = http.post("/v1/query", json={"query": "When does the harbour open?"}).json()
    assert "6 in the morning" in answer["answer"]
