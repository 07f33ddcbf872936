"""Each process of the chart gets settings that Plumbline accepts, and time to stop."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from rag.build.waiting import drain_seconds
from rag.cli.one_server import CUT_SECONDS
from rag.settings.storage import CeleryQueueSettings, PostgresSettings, QdrantSettings
from rag.settings.tree import SECRETS, Settings, load_settings
from tests.deploy.chart import (
    FILES,
    Pods,
    environment,
    named,
    of_kind,
    pods_of,
    release,
    render,
    values_of,
)
from tests.servers import Json

SECRET = {
    "catalog.url": "postgresql://plumbline:secret@db.example:5432/plumbline",
    "queue.broker_url": "rediss://:secret@redis.example:6380/0",
    "index.api_key": "secret",
    "generator.api_key": "secret",
    "postgresql.password": "secret",
    "webhooks": json.dumps(
        {
            "ops": {
                "url": "https://ops.example/",
                "secret": "whsec_" + "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz",
            }
        }
    ),
}
"""What the Secret of an installation may have."""
PROCESSES = [(file, pods) for file in FILES for pods in pods_of(release(file)) if pods.runs_rag]
every_process = pytest.mark.parametrize(
    ("file", "pods"), PROCESSES, ids=[f"{file}-{pods.name}" for file, pods in PROCESSES]
)


def loaded(
    objects: Sequence[Json], pods: Pods, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """Loads the settings of a process as it finds them in its container."""
    for key, path in mounted(pods).items():
        file = folder / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(SECRET[key] + "\n")
    for name, value in environment(objects, pods).items():
        if isinstance(value, dict):
            monkeypatch.setenv(name, SECRET[value["secretKeyRef"]["key"]])
        elif name.endswith("__FILE"):
            monkeypatch.setenv(name, str(folder / value.lstrip("/")))
        else:
            monkeypatch.setenv(name, value)
    monkeypatch.chdir(folder)
    return load_settings()


def mounted(pods: Pods) -> dict[str, str]:
    """Returns the paths in the container of the keys of Secrets that are mounted."""
    [mount] = [one for one in pods.container["volumeMounts"] if one["name"] == "secrets"]
    [volume] = [one for one in pods.spec["volumes"] if one["name"] == "secrets"]
    assert mount["readOnly"] is True
    items = volume["secret"]["items"]
    return {item["key"]: f"{mount['mountPath']}/{item['path']}" for item in items}


@every_process
def test_settings_of_a_process_are_accepted(
    file: str, pods: Pods, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = loaded(release(file), pods, tmp_path, monkeypatch)
    assert isinstance(settings.catalog, PostgresSettings)
    assert settings.catalog.url.get_secret_value() == SECRET["catalog.url"]
    mounts = {mount["mountPath"] for mount in pods.container["volumeMounts"]}
    assert any(settings.data_dir.is_relative_to(mount) for mount in mounts)
    if pods.component == "migration":
        return
    assert isinstance(settings.index, QdrantSettings)
    assert isinstance(settings.queue, CeleryQueueSettings)
    assert settings.gateway.enabled
    assert settings.log.format == "json"
    if pods.component == "api":
        assert pods.port(settings.server.port)
        service = named(release(file), "Service", pods.name)["metadata"]["name"]
        assert service in settings.server.allowed_hosts
        for ingress in of_kind(release(file), "Ingress"):
            assert ingress["spec"]["rules"][0]["host"] in settings.server.allowed_hosts
    elif pods.stays:
        assert pods.port(settings.queue.metrics_port or 0)
        assert settings.queue.metrics_host == "0.0.0.0"


def test_the_numbers_of_settings_stay_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = {"gpu_memory_utilization": 0.8, "max_model_len": 16384}
    objects = render(
        {
            "settings": {
                "index": {"grpc_port": 6335},
                "generator": {"kind": "vllm", "model": "/models/m", "engine": engine},
                "fallbacks": [{"kind": "extractive"}],
                "profile": "fast",
            }
        }
    )
    [api] = [pods for pods in pods_of(objects) if pods.component == "api"]
    settings = loaded(objects, api, tmp_path, monkeypatch)
    assert repr(settings.generator.engine) == repr(engine)  # type: ignore[union-attr]
    assert settings.index.grpc_port == 6335  # type: ignore[union-attr]
    assert (settings.profile, len(settings.fallbacks)) == ("fast", 1)


def test_prompts_that_begin_alike_go_to_one_of_several_engines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, names in enumerate((["main"], ["a", "b"])):
        objects = render(
            values_of("gpu") | {"engine": values_of("gpu")["engine"] | {"names": names}}
        )
        [api] = [pods for pods in pods_of(objects) if pods.component == "api"]
        generator = loaded(objects, api, tmp_path / str(number), monkeypatch).generator
        services = [one["metadata"]["name"] for one in of_kind(objects, "Service")]
        hosts = [url.split("/")[2].split(".")[0] for url in generator.urls]  # type: ignore[union-attr]
        assert hosts == [f"demo-plumbline-engine-{name}" for name in names]
        assert set(hosts) <= set(services)
        [*engines] = [pods for pods in pods_of(objects) if pods.component.startswith("engine-")]
        for engine in engines:
            arguments = engine.container["args"]
            served = arguments[arguments.index("--served-model-name") + 1]
            assert served == generator.model  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"limits": {"query_seconds": 100}},
        {"admission": {"interactive": {"query_seconds": 300.5}}},
        {"admission": {"batch": {"wait_seconds": 5}, "standard": {"wait_seconds": 90}}},
        {"limits": {"query_seconds": 7}, "admission": {"batch": {"wait_seconds": 1}}},
    ],
)
def test_a_pod_is_given_the_time_in_which_it_drains(
    settings: Json, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It serves on, drains, and cuts what is left; then Kubernetes kills it."""
    objects = render({"settings": settings})
    [api] = [pods for pods in pods_of(objects) if pods.component == "api"]
    needed = drain_seconds(loaded(objects, api, tmp_path, monkeypatch)) + CUT_SECONDS
    served_on = api.container["lifecycle"]["preStop"]["sleep"]["seconds"]
    spare = api.spec["terminationGracePeriodSeconds"] - served_on - needed
    assert 0 < spare <= 10


def test_engines_and_workers_have_time_to_end_what_they_began() -> None:
    for pods in pods_of(release("gpu")):
        if pods.component.startswith("engine-"):
            arguments = pods.container["args"]
            drain = int(arguments[arguments.index("--shutdown-timeout") + 1])
            served_on = pods.container["lifecycle"]["preStop"]["sleep"]["seconds"]
            assert pods.spec["terminationGracePeriodSeconds"] > served_on + drain > 0
        if pods.component.startswith("worker-"):
            assert pods.spec["terminationGracePeriodSeconds"] == 300


def test_a_database_reads_its_password_from_the_secret() -> None:
    [postgres] = [p for p in pods_of(release("values")) if p.component == "postgresql"]
    variables = {one["name"]: one["value"] for one in postgres.container["env"]}
    assert variables["POSTGRES_PASSWORD_FILE"] == mounted(postgres)["postgresql.password"]


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_every_secret_may_come_from_a_file(name: str) -> None:
    values = {"secrets": {"name": "mine", "settings": sorted({"catalog.url", name})}}
    [api] = [pods for pods in pods_of(render(values)) if pods.component == "api"]
    variable = f"RAG_{name.replace('.', '__').upper()}__FILE"
    assert environment(render(values), api)[variable] == mounted(api)[name]


def test_no_secret_is_in_the_objects() -> None:
    """The names of settings are there, and their values only in the Secret."""
    assert of_kind(release("external"), "Secret") == []
    assert "postgresql://" not in str(release("values"))
