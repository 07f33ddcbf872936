"""Values that do not fit are refused before anything reaches a cluster."""

from __future__ import annotations

import json

import pytest
from helm_python import HelmRenderError, HelmValuesError

from rag.settings.tree import SECRETS, Settings
from tests.deploy.chart import CHART, render
from tests.servers import Json

REFUSED: list[tuple[Json, str]] = [
    ({"replicas": 3}, "replicas"),
    ({"api": {"replica": 3}}, "replica"),
    ({"api": {"replicas": 0}}, "replicas"),
    ({"api": {"replicas": "two"}}, "replicas"),
    ({"api": {"resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": None}}}, "limits"),
    ({"api": {"resources": {"limits": {"cpu": "much", "memory": "1Gi"}}}}, "cpu"),
    ({"api": {"preStopSeconds": 0}}, "preStopSeconds"),
    ({"image": {"tag": "latest"}}, "tag"),
    ({"image": {"digest": "sha256:1234"}}, "digest"),
    ({"qdrant": {"image": {"tag": "latest-unprivileged"}}}, "tag"),
    ({"qdrant": {"replicas": 2}}, "replicas"),  # no majority without one of them
    ({"qdrant": {"enabled": False}}, "urls"),
    ({"qdrant": {"urls": ["http://elsewhere:6333"]}}, "urls"),
    ({"settings": {"retrival": {"depth": 80}}}, "retrival"),
    ({"settings": {"data_dir": "/elsewhere"}}, "data_dir"),
    ({"secrets": {"settings": ["queue.broker_url"]}}, "secrets"),
    ({"secrets": {"settings": ["catalog.url", "catalog.password"]}}, "secrets"),
    ({"secrets": {"name": ""}}, "name"),
    ({"autoscaling": {"kind": "vpa"}}, "kind"),
    ({"autoscaling": {"prometheus": "prometheus:9090"}}, "prometheus"),
    ({"workers": {"parse": {"stage": "read"}}}, "stage"),
    ({"workers": {"Parse": {}}}, "Parse"),
    ({"workers": {"parse": {"gpus": 1}}}, "gpus"),
    ({"jobs": {"verify": {"schedule": "daily", "args": ["audit", "verify"]}}}, "schedule"),
    ({"jobs": {"verify": {"schedule": "@daily", "args": []}}}, "args"),
    ({"engine": {"enabled": True}}, "model"),
    ({"engine": {"names": []}}, "names"),
    ({"engine": {"kvUsage": 80}}, "kvUsage"),
    ({"monitoring": {"interval": "60s"}}, "interval"),
    ({"data": {"accessMode": "ReadOnlyMany"}}, "accessMode"),
    ({"networkPolicy": {"clients": []}}, "clients"),
    ({"postgresql": {"external": {"ports": [0], "cidrs": []}}}, "ports"),
    ({"postgresql": {"external": {"cidrs": ["everywhere"]}}}, "cidrs"),
]
FAILED: list[tuple[Json, str]] = [
    ({"workers": {"parse": None}}, "no pool takes documents of stage parse and priority interact"),
    (
        {"workers": {"bulk": {"stage": "embed"}}},
        "no pool takes documents of stage parse and priority b",
    ),
    ({"workers": {"parse": {"min": 0}}}, "workers.parse: only pools of bulk or batches"),
    ({"workers": {"batches": {"stage": "parse"}}}, "workers.batches: batches goes without"),
    ({"workers": {"parse": {"min": 9}}, "autoscaling": {"kind": "hpa"}}, "min is 9, and max is 8"),
    ({"redis": {"enabled": False}}, "name queue.broker_url in secrets.settings"),
    ({"settings": {"traces": {"otlp_url": "https://me:pass@x/v1/traces"}}}, "secrets belong into"),
    ({"settings": {"fallbacks": [{"kind": "openai", "api_key": "k"}]}}, "secrets belong into"),
]


@pytest.mark.parametrize(("values", "named"), REFUSED)
def test_the_schema_refuses_values_and_names_them(values: Json, named: str) -> None:
    with pytest.raises(HelmValuesError, match=f"(?s)specifications of the schema.*{named}"):
        render(values)


@pytest.mark.parametrize(("values", "says"), FAILED)
def test_a_template_refuses_values_that_contradict_each_other(values: Json, says: str) -> None:
    with pytest.raises(HelmRenderError, match=says):
        render(values)


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_no_secret_is_accepted_among_the_settings(name: str) -> None:
    value: Json | str = "redis://:secret@redis:6379/0"
    for part in reversed(name.split(".")):
        value = {part: value}
    with pytest.raises((HelmRenderError, HelmValuesError)):
        render({"settings": value})


def test_the_schema_knows_all_parts_of_the_settings() -> None:
    """All but those that the chart decides, or that have secrets as a whole."""
    properties = schema()["properties"]
    decided = {"catalog", "data_dir", "webhooks"}
    assert properties["settings"]["properties"].keys() == Settings.model_fields.keys() - decided
    secrets = set(properties["secrets"]["properties"]["settings"]["items"]["enum"])
    assert secrets >= SECRETS
    assert secrets - SECRETS <= Settings.model_fields.keys()


def test_no_object_of_the_chart_accepts_unknown_names() -> None:
    """Free are the settings' parts, labels, and selectors and rules that are Kubernetes'."""
    free = {"labels", "amounts", "namespaceSelector", "podSelector", "ipBlock", "egress"}

    def look(name: str, part: Json) -> None:
        types = part.get("type")
        if "object" in (types if isinstance(types, list) else [types]) and name not in free:
            assert part.get("additionalProperties") is not None, name
        for child, inner in [*part.get("properties", {}).items(), *part.get("$defs", {}).items()]:
            if isinstance(inner, dict):
                look(child, inner)
        for key in ("items", "additionalProperties"):
            if isinstance(part.get(key), dict):
                look(name if key == "items" else f"{name}.*", part[key])

    look("values", schema())


def schema() -> Json:
    found: Json = json.loads((CHART / "values.schema.json").read_text())
    return found
