"""Objects of every values file fit the schemas of Kubernetes, KEDA and Prometheus' operator."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module

import helm_python
import kubernetes_validate
import pytest
import yaml

import rag
from tests.deploy.chart import CHART, FILES, NAMESPACE, named, of_kind, release
from tests.places import ROOT

MODELS: Mapping[str, str] = {
    "ScaledObject": "keda.v1alpha1",
    "PodMonitor": "prometheus_operator.v1",
    "PrometheusRule": "prometheus_operator.v1",
    "ServiceMonitor": "prometheus_operator.v1",
}
"""Modules of `cloudcoil.models` by the kinds of operators' objects that they describe."""
WARNING = 2
"""The severity of messages of Helm's linter that are more than advice."""


@pytest.fixture(scope="module")
def _cached() -> Iterator[None]:
    """Lets kubernetes-validate read its schemas once."""
    utils = kubernetes_validate.utils
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, "schema_contents", cache(utils.schema_contents))
        yield


@pytest.mark.usefixtures("_cached")
@pytest.mark.parametrize("version", ["1.30", "1.34", "1.37"])
@pytest.mark.parametrize("file", FILES)
def test_objects_fit_kubernetes(file: str, version: str) -> None:
    for one in release(file):
        if one["kind"] not in MODELS:
            kubernetes_validate.validate(one, version, strict=True)


@pytest.mark.parametrize("file", FILES)
def test_objects_of_operators_fit_their_models(file: str) -> None:
    """The models accept unknown names, and lose them: nothing is lost."""
    for one in of_kind(release(file), *MODELS):
        # Imported here: each process of the tests imports this file, and one runs it.
        module = import_module(f"cloudcoil.models.{MODELS[one['kind']]}")
        read = getattr(module, one["kind"]).model_validate(one)
        written = read.model_dump(mode="json", by_alias=True, exclude_unset=True)
        assert written["spec"] == one["spec"]


def test_there_are_objects_of_each_kind() -> None:
    kinds = {one["kind"] for file in FILES for one in release(file)}
    assert kinds >= {*MODELS, "Deployment", "StatefulSet", "CronJob", "Job", "Ingress"}
    assert kinds >= {"NetworkPolicy", "PodDisruptionBudget", "HorizontalPodAutoscaler"}


@pytest.mark.parametrize("file", FILES)
def test_objects_have_names_of_their_own(file: str) -> None:
    names = [(one["kind"], one["metadata"]["name"]) for one in release(file)]
    assert len(set(names)) == len(names)
    assert max(len(name) for _, name in names) <= 63


def test_helms_linter_finds_nothing() -> None:
    found = helm_python.lint(str(CHART), namespace=NAMESPACE)
    assert [each for each in found["messages"] if each["severity"] >= WARNING] == []
    assert found["errors"] == []


def test_the_chart_is_of_this_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == rag.__version__


def test_alarms_and_dashboard_are_those_that_ship() -> None:
    objects = release("gpu")
    for file in ("alerts", "slo"):
        rules = named(objects, "PrometheusRule", f"demo-plumbline-{file}")["spec"]
        assert rules == yaml.safe_load((ROOT / f"deploy/prometheus/{file}.yml").read_text())
    dashboard = named(objects, "ConfigMap", "demo-plumbline-dashboard")["data"]
    shipped = json.loads((ROOT / "deploy/grafana/plumbline.json").read_text())
    assert json.loads(dashboard["plumbline.json"]) == shipped
