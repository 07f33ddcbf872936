"""compose.yaml against the compose specification, the settings, the commands and the image."""

from __future__ import annotations

import json
import os
import re
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from rag.api.draining import PROBES
from rag.build.waiting import drain_seconds
from rag.cli.main import _parser
from rag.settings.generation import VllmSettings
from rag.settings.storage import CeleryQueueSettings, PostgresSettings, QdrantSettings
from rag.settings.tree import Settings, load_settings
from tests.compose import FILE, OURS, compose, needs_compose, project, secrets
from tests.places import ROOT
from tests.servers import Json

pytestmark = needs_compose

PROFILE = ROOT / "profiles" / "cluster.toml"
DEPLOY = ROOT / "deploy"
BY_PROFILE = {
    None: {"api", "worker", "postgres", "redis", "qdrant"},
    "gpu": {"api-gpu"},
    "monitoring": {"prometheus", "grafana"},
    "rabbitmq": {"rabbitmq"},
    "langfuse": {
        f"langfuse-{name}" for name in ("web", "worker", "postgres", "clickhouse", "redis", "minio")
    },
}
WRITABLE = {"rabbitmq", "prometheus", "langfuse-web", "langfuse-worker", "langfuse-clickhouse"}
"""Services whose root file systems are written; each says why in compose.yaml."""


@pytest.fixture(scope="module")
def variables() -> dict[str, str]:
    return secrets()


@pytest.fixture(scope="module")
def whole(variables: dict[str, str]) -> Json:
    return project(variables)


def settings_of(service: Json, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Returns the settings of a process with a service's environment and the image's file."""
    for name in [name for name in os.environ if name.startswith("RAG_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("RAG_CONFIG", str(PROFILE))
    for name, value in service["environment"].items():
        monkeypatch.setenv(name, value)
    return load_settings()


# The specification


def test_the_specification_has_every_key(variables: dict[str, str], tmp_path: Path) -> None:
    ran = compose("--profile", "*", "config", "--quiet", variables=variables)
    assert (ran.returncode, ran.stderr) == (0, "")
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(FILE.read_text().replace("read_only: true", "readonly: true"))
    refused = compose("config", "--quiet", variables=variables, file=wrong)
    assert refused.returncode != 0
    assert "additional properties 'readonly' not allowed" in refused.stderr


@pytest.mark.parametrize("profile", BY_PROFILE)
def test_a_profile_adds_its_services(profile: str | None, variables: dict[str, str]) -> None:
    chosen = ("--profile", profile) if profile else ()
    ran = compose(*chosen, "config", "--services", variables=variables)
    assert set(ran.stdout.split()) == BY_PROFILE[None] | BY_PROFILE[profile]


def test_no_secret_is_left_out(variables: dict[str, str]) -> None:
    needed = set(re.findall(r"\$\{(\w+):\?", FILE.read_text()))
    assert needed == set(variables)
    assert len(set(variables.values())) == len(variables)
    assert min(map(len, variables.values())) >= 64
    for name in variables:
        ran = compose("config", "--quiet", variables=variables | {name: ""})
        assert ran.returncode != 0
        assert f"required variable {name} is missing a value" in ran.stderr


def test_secrets_that_are_in_use_are_kept(variables: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("POSTGRES_PASSWORD=old\nMODEL=Qwen3-8B\n")
    missing = secrets(tmp_path)
    assert set(missing) == set(variables) - {"POSTGRES_PASSWORD"}
    file.write_text("".join(f"{name}=x\n" for name in variables))
    assert secrets(tmp_path) == {}


def test_the_file_of_secrets_is_not_committed() -> None:
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()


# Confinement


def test_every_service_is_confined_and_limited(whole: Json) -> None:
    for name, service in whole["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service.get("read_only", False) is (name not in WRITABLE), name
        assert {"privileged", "network_mode", "pid", "ipc", "cap_add"} & set(service) == set()
        # Compose copies secrets from variables into the container, which fails if it is read-only.
        assert not (service.get("read_only") and service.get("secrets")), name
        limits = service["deploy"]["resources"]["limits"]
        assert limits["cpus"] > 0, name
        assert int(limits["memory"]) > 0, name
        assert limits["pids"] > 0, name
        assert service["restart"] == "unless-stopped", name
        assert service["healthcheck"]["test"][0] == "CMD", name


def test_ports_are_those_of_this_machine_alone(whole: Json) -> None:
    ports = [port for service in whole["services"].values() for port in service.get("ports", ())]
    assert {port["host_ip"] for port in ports} == {"127.0.0.1"}
    taken = [port["published"] for port in ports]
    assert sorted(taken) == ["3000", "3001", "8000", "8000", "9090"]  # api-gpu is in place of api


def test_every_image_has_a_version(whole: Json) -> None:
    for name, service in whole["services"].items():
        if name not in OURS:
            tag = service["image"].rpartition(":")[2]
            assert re.search(r"\d", tag) or name == "langfuse-minio", service["image"]


def test_a_redis_keeps_what_it_has(whole: Json) -> None:
    """Its own limit is under the container's, and it refuses instead of forgetting."""
    for name in ("redis", "langfuse-redis"):
        service = whole["services"][name]
        options = dict(zip(service["command"][1::2], service["command"][2::2], strict=True))
        assert options["--maxmemory-policy"] == "noeviction"
        limit = int(service["deploy"]["resources"]["limits"]["memory"])
        assert int(options["--maxmemory"].removesuffix("mb")) * 2**20 < limit
        assert options["--requirepass"] == service["environment"]["REDISCLI_AUTH"]


def test_postgres_users_and_databases_are_those_of_the_urls(whole: Json) -> None:
    urls = {
        "postgres": whole["services"]["api"]["environment"]["RAG_CATALOG__URL"],
        "langfuse-postgres": whole["services"]["langfuse-web"]["environment"]["DATABASE_URL"],
    }
    for name, url in urls.items():
        service, parts = whole["services"][name], urlsplit(url)
        environment = service["environment"]
        assert parts.hostname == name
        assert parts.username == parts.path[1:] == environment["POSTGRES_USER"]
        assert parts.password == environment["POSTGRES_PASSWORD"]
        assert f"--username={parts.username}" in service["healthcheck"]["test"]


# The service


@pytest.mark.parametrize("name", OURS)
def test_the_environment_fits_the_settings(
    name: str, whole: Json, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(whole["services"][name], monkeypatch)
    assert isinstance(settings.catalog, PostgresSettings)
    assert isinstance(settings.queue, CeleryQueueSettings)
    assert isinstance(settings.index, QdrantSettings)
    assert settings.gateway.enabled
    secret = settings.index.api_key
    assert secret is not None
    assert secret.get_secret_value() == variables["QDRANT_API_KEY"]
    assert (
        secret.get_secret_value()
        == (whole["services"]["qdrant"]["environment"]["QDRANT__SERVICE__API_KEY"])
    )
    hosts = {
        urlsplit(url).hostname
        for url in (
            settings.catalog.url.get_secret_value(),
            settings.queue.broker_url.get_secret_value(),
            *settings.index.urls,
        )
    }
    assert hosts <= set(whole["services"][name]["depends_on"])
    broker = urlsplit(settings.queue.broker_url.get_secret_value())
    assert broker.password == variables["REDIS_PASSWORD"]
    assert broker.hostname == "redis"


@pytest.mark.parametrize("name", OURS)
def test_the_command_is_one_of_rag(name: str, whole: Json) -> None:
    parsed = _parser().parse_args(whole["services"][name]["command"])
    assert parsed.command in ("serve", "worker")


def test_the_api_listens_where_the_port_and_the_health_check_are(
    whole: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("api", "api-gpu"):
        service = whole["services"][name]
        server = settings_of(service, monkeypatch).server
        assert server.host == "0.0.0.0"
        assert [port["target"] for port in service["ports"]] == [server.port]
        checked = re.search(r"http://[^']+", service["healthcheck"]["test"][3])
        assert checked is not None
        assert urlsplit(checked[0]).port == server.port
        assert urlsplit(checked[0]).path in PROBES
        assert "api" in server.allowed_hosts


def test_a_process_has_the_time_that_it_needs_to_stop(
    whole: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = whole["services"]["api"]
    settings = settings_of(service, monkeypatch)
    assert service["stop_grace_period"] == "1m40s"
    assert drain_seconds(settings) < 100


def test_the_worker_answers_prometheus_where_it_is_checked(
    whole: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = whole["services"]["worker"]
    queue = settings_of(service, monkeypatch).queue
    assert isinstance(queue, CeleryQueueSettings)
    assert f"http://127.0.0.1:{queue.metrics_port}/metrics" in service["healthcheck"]["test"][3]
    assert queue.metrics_host == "0.0.0.0"


def test_only_the_data_folder_is_kept_and_all_processes_share_it(
    whole: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in OURS:
        service = whole["services"][name]
        data = settings_of(service, monkeypatch).data_dir
        volumes = {each["target"]: each for each in service["volumes"]}
        assert volumes.pop(str(data))["source"] == "data"
        assert all(each["read_only"] for each in volumes.values())


def test_the_engine_has_all_devices_and_a_model_that_is_mounted(
    whole: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = whole["services"]["api-gpu"]
    generator = settings_of(service, monkeypatch).generator
    assert isinstance(generator, VllmSettings)
    (mount,) = (each for each in service["volumes"] if each["type"] == "bind")
    assert Path(generator.model).parent == Path(mount["target"])
    assert service["build"]["args"] == {"DEVICE": "cuda"}
    reserved = service["deploy"]["resources"]["reservations"]["devices"]
    assert reserved == [{"driver": "nvidia", "count": -1, "capabilities": ["gpu"]}]
    assert service["networks"]["default"]["aliases"] == ["api"]


def test_another_broker_is_one_line(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"amqp://plumbline:{variables['RABBITMQ_PASSWORD']}@rabbitmq:5672//"
    services = project(variables | {"BROKER_URL": url})["services"]
    for name in OURS:
        queue = settings_of(services[name], monkeypatch).queue
        assert isinstance(queue, CeleryQueueSettings)
        assert queue.broker_url.get_secret_value() == url
    broker = services["rabbitmq"]["environment"]
    assert urlsplit(url).username == broker["RABBITMQ_DEFAULT_USER"]
    assert urlsplit(url).password == broker["RABBITMQ_DEFAULT_PASS"]
    assert f"@{services['rabbitmq']['hostname']}:" in url


# Langfuse


def test_nothing_is_sent_to_langfuse_unless_it_is_named(
    whole: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys alone would send traces to Langfuse's cloud."""
    for name in OURS:
        traces = settings_of(whole["services"][name], monkeypatch).traces
        assert (traces.langfuse_url, traces.public_key, traces.secret_key) == (None, None, None)


def test_langfuse_knows_the_keys_of_the_service(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    services = project(variables | {"LANGFUSE_URL": "http://langfuse-web:3000"})["services"]
    known = services["langfuse-web"]["environment"]
    (port,) = services["langfuse-web"]["ports"]
    for name in OURS:
        traces = settings_of(services[name], monkeypatch).traces
        assert traces.langfuse_url == f"http://langfuse-web:{port['target']}"
        assert traces.public_key == known["LANGFUSE_INIT_PROJECT_PUBLIC_KEY"]
        assert traces.secret_key is not None
        assert traces.secret_key.get_secret_value() == known["LANGFUSE_INIT_PROJECT_SECRET_KEY"]


def test_langfuse_reaches_its_own_services(whole: Json) -> None:
    services = whole["services"]
    for name in ("langfuse-web", "langfuse-worker"):
        environment = services[name]["environment"]
        named = {
            environment["REDIS_HOST"]: environment["REDIS_AUTH"],
            urlsplit(environment["CLICKHOUSE_URL"]).hostname: environment["CLICKHOUSE_PASSWORD"],
            urlsplit(environment["CLICKHOUSE_MIGRATION_URL"]).hostname: environment[
                "CLICKHOUSE_PASSWORD"
            ],
            urlsplit(environment["LANGFUSE_S3_EVENT_UPLOAD_ENDPOINT"]).hostname: environment[
                "LANGFUSE_S3_EVENT_UPLOAD_SECRET_ACCESS_KEY"
            ],
            urlsplit(environment["DATABASE_URL"]).hostname: urlsplit(
                environment["DATABASE_URL"]
            ).password,
        }
        assert set(named) == set(services[name]["depends_on"])
        for host, password in named.items():
            assert password in services[str(host)]["environment"].values(), host
        bucket = environment["LANGFUSE_S3_EVENT_UPLOAD_BUCKET"]
        assert f"mkdir -p /data/{bucket} " in services["langfuse-minio"]["entrypoint"][2]


# Monitoring


def test_prometheus_finds_servers_and_workers(whole: Json, monkeypatch: pytest.MonkeyPatch) -> None:
    service = whole["services"]["prometheus"]
    settings = settings_of(whole["services"]["worker"], monkeypatch)
    assert isinstance(settings.queue, CeleryQueueSettings)
    (mount,) = (each for each in service["volumes"] if each["type"] == "bind")
    options = dict(option.removeprefix("--").split("=", 1) for option in service["command"])
    file = Path(options["config.file"])
    assert str(file.parent) == mount["target"]
    config = yaml.safe_load((Path(mount["source"]) / file.name).read_text())
    found = {
        job["job_name"]: (each["names"], each["port"])
        for job in config["scrape_configs"]
        for each in job["dns_sd_configs"]
    }
    assert found == {
        "plumbline": (["api"], settings.server.port),
        "plumbline-workers": (["worker"], settings.queue.metrics_port),
    }
    assert config["rule_files"] == [
        rules for rules in config["rule_files"] if (DEPLOY / "prometheus" / rules).is_file()
    ]
    by_hand = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    assert (config["global"], config["rule_files"]) == (by_hand["global"], by_hand["rule_files"])
    (secret,) = service["secrets"]
    key = config["scrape_configs"][0]["authorization"]["credentials_file"]
    assert key == f"/run/secrets/{secret['source']}"
    assert options["storage.tsdb.path"] in {each["target"] for each in service["volumes"]}


def test_grafana_has_the_dashboard_and_its_data_source(whole: Json) -> None:
    service = whole["services"]["grafana"]
    mounts = {each["target"]: each for each in service["volumes"]}
    provisioning = Path(mounts["/etc/grafana/provisioning"]["source"])
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())[
        "datasources"
    ]
    address = urlsplit(source["url"])
    prometheus = whole["services"]["prometheus"]
    assert address.hostname == "prometheus"
    assert [port["target"] for port in prometheus["ports"]] == [address.port]
    assert f"http://127.0.0.1:{address.port}/" in prometheus["healthcheck"]["test"][-1]
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "plumbline.yml").read_text())[
        "providers"
    ]
    home = Path(service["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert str(home.parent) == provider["options"]["path"]
    dashboard = json.loads(Path(mounts[str(home)]["source"]).read_text())
    (variable,) = (v for v in dashboard["templating"]["list"] if v["type"] == "datasource")
    assert variable["query"] == source["type"]
    assert source["isDefault"]


# Files and volumes


def test_every_mount_of_the_repository_is_there_and_read_only(whole: Json) -> None:
    for service in whole["services"].values():
        for mount in service.get("volumes", ()):
            if mount["type"] == "bind" and Path(mount["source"]).name != "models":
                assert Path(mount["source"]).exists()
                assert mount["read_only"]


def test_every_volume_is_used(whole: Json) -> None:
    used = {
        mount["source"]
        for service in whole["services"].values()
        for mount in service.get("volumes", ())
        if mount["type"] == "volume"
    }
    assert used == set(whole["volumes"])


def test_the_profile_for_compose_names_its_services() -> None:
    settings = tomllib.loads(PROFILE.read_text())
    assert urlsplit(settings["index"]["url"]).hostname in BY_PROFILE[None]
    assert urlsplit(settings["catalog"]["url"]).hostname in BY_PROFILE[None]
    assert urlsplit(settings["queue"]["broker_url"]).hostname in BY_PROFILE[None]
