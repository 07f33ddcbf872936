"""The Helm chart, rendered by Helm's own engine without a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml
from helm_python import Chart

from tests.places import ROOT
from tests.servers import Json

CHART = ROOT / "deploy" / "helm" / "plumbline"
EXAMPLES = sorted(path.stem for path in (CHART / "examples").glob("*.yaml"))
FILES = ("values", *EXAMPLES)
"""The values files: the chart's own alone, and each example over them."""
NAME, NAMESPACE = "demo", "prod"
KEDA = {"autoscaling": {"kind": "keda"}}


@dataclass(frozen=True, slots=True)
class Pods:
    """The pods that an object makes."""

    kind: str
    name: str
    template: Json

    @property
    def labels(self) -> dict[str, str]:
        found: dict[str, str] = self.template["metadata"]["labels"]
        return found

    @property
    def component(self) -> str:
        return self.labels["app.kubernetes.io/component"]

    @property
    def spec(self) -> Json:
        found: Json = self.template["spec"]
        return found

    @property
    def container(self) -> Json:
        """The one container of each pod."""
        [found] = self.spec["containers"]
        return dict(found)

    @property
    def runs_rag(self) -> bool:
        return bool(self.container["name"] == "rag")

    @property
    def stays(self) -> bool:
        """True if it runs until it is stopped."""
        return self.kind in ("Deployment", "StatefulSet")

    def port(self, wanted: str | int) -> int | None:
        """Returns the number of a port, by its name or number; None if it has none such."""
        ports = self.container.get("ports", ())
        numbers = [p["containerPort"] for p in ports if wanted in (p["name"], p["containerPort"])]
        return numbers[0] if numbers else None


def render(values: Json, *, name: str = NAME) -> tuple[Json, ...]:
    """Returns the objects of a release.

    Raises:
        HelmValuesError: The schema refuses the values.
        HelmRenderError: A template does.
    """
    with Chart.load(str(CHART)) as chart:
        files = chart.render(values, name=name, namespace=NAMESPACE)
    texts = [text for file, text in files.items() if not file.endswith("NOTES.txt")]
    loaded = (one for text in texts for one in yaml.load_all(text, Loader=yaml.CSafeLoader))
    return tuple(one for one in loaded if one)


def values_of(file: str) -> Json:
    """Returns the values of one of `FILES`."""
    if file == "values":
        return {}
    found: Json = yaml.safe_load((CHART / "examples" / f"{file}.yaml").read_text())
    return found


@cache
def release(file: str) -> tuple[Json, ...]:
    """Returns the objects of one of `FILES`."""
    return render(values_of(file))


def of_kind(objects: Sequence[Json], *kinds: str) -> list[Json]:
    return [one for one in objects if one["kind"] in kinds]


def named(objects: Sequence[Json], kind: str, name: str) -> Json:
    [found] = [one for one in of_kind(objects, kind) if one["metadata"]["name"] == name]
    return found


def pods_of(objects: Sequence[Json]) -> list[Pods]:
    """Returns the pods of all objects that make some."""
    return [
        Pods(one["kind"], one["metadata"]["name"], template)
        for one in objects
        if (template := _template(one))
    ]


def _template(one: Json) -> Any:
    match one["kind"]:
        case "Deployment" | "StatefulSet" | "Job":
            return one["spec"]["template"]
        case "CronJob":
            return one["spec"]["jobTemplate"]["spec"]["template"]
        case _:
            return None


def selects(selector: Json, labels: dict[str, str]) -> bool:
    """Returns True if a selector of labels fits, as Kubernetes decides it."""
    wanted = selector.get("matchLabels", {}).items()
    return wanted <= labels.items() and all(
        _holds(rule, labels) for rule in selector.get("matchExpressions", ())
    )


def _holds(rule: Json, labels: dict[str, str]) -> bool:
    assert rule["operator"] == "In", rule
    return labels.get(rule["key"]) in rule["values"]


def queries(objects: Sequence[Json]) -> Iterator[tuple[str, Json]]:
    """Yields the name of each ScaledObject with each of its triggers."""
    for one in of_kind(objects, "ScaledObject"):
        for trigger in one["spec"]["triggers"]:
            yield one["metadata"]["name"], trigger


def environment(objects: Sequence[Json], pods: Pods) -> dict[str, Any]:
    """Returns the environment of a container; the value is a dict if a Secret has it."""
    found: dict[str, Any] = {}
    for source in pods.container.get("envFrom", ()):
        found |= named(objects, "ConfigMap", source["configMapRef"]["name"])["data"]
    for variable in pods.container.get("env", ()):
        found[variable["name"]] = variable.get("value", variable.get("valueFrom"))
    return found
