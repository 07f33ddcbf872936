"""Rules that all pods of the chart keep."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import promql_parser
import pytest

from generation.replicas.engine_metrics import KV_CACHE_USAGE, WAITING
from rag.cli.main import _parser
from rag.telemetry import metrics
from tests.deploy.chart import (
    EXAMPLES,
    FILES,
    KEDA,
    Pods,
    named,
    of_kind,
    pods_of,
    queries,
    release,
    render,
    selects,
)
from tests.rag.telemetry.test_metrics import BACKLOG
from tests.servers import Json

ALL = [(file, pods) for file in FILES for pods in pods_of(release(file))]
every_pod = pytest.mark.parametrize(
    "pods", [pods for _, pods in ALL], ids=[f"{file}-{pods.name}" for file, pods in ALL]
)
BATCH = ("demo-plumbline-worker-bulk", "demo-plumbline-worker-batches")


@every_pod
def test_no_pod_has_more_rights_than_it_needs(pods: Pods) -> None:
    """The profile `restricted` of Pod Security Standards, and a root that nobody writes to."""
    security = pods.spec["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] > 0
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pods.container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pods.spec["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & pods.spec.keys()
    kinds = {kind for volume in pods.spec["volumes"] for kind in volume.keys() - {"name"}}
    assert kinds <= {"emptyDir", "persistentVolumeClaim", "secret"}


@every_pod
def test_kubernetes_names_no_services_in_the_environment(pods: Pods) -> None:
    """A Service `rag-…` would be RAG_…_SERVICE_HOST there, which is refused as a setting."""
    assert pods.spec["enableServiceLinks"] is False


@every_pod
def test_every_container_has_requests_and_limits(pods: Pods) -> None:
    resources = pods.container["resources"]
    for kind in ("requests", "limits"):
        assert {"cpu", "memory"} <= resources[kind].keys()


@every_pod
def test_every_image_is_pinned(pods: Pods) -> None:
    tag, _, digest = pods.container["image"].partition("@")
    assert digest.startswith("sha256:") or re.search(r":v?\d+\.\d+[\w.-]*$", tag)


@every_pod
def test_what_stays_is_probed(pods: Pods) -> None:
    if not pods.stays:
        return
    container = pods.container
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        if "httpGet" in container[probe]:
            assert pods.port(container[probe]["httpGet"]["port"]), probe
        else:
            assert container[probe]["exec"]["command"]


@every_pod
def test_volumes_that_are_mounted_are_there(pods: Pods) -> None:
    made = {"storage"} if pods.kind == "StatefulSet" else set()  # by its claim templates
    mounts = [mount["name"] for mount in pods.container["volumeMounts"]]
    assert set(mounts) == {volume["name"] for volume in pods.spec["volumes"]} | made
    assert "tmp" in mounts


@every_pod
def test_commands_are_those_of_rag(pods: Pods) -> None:
    if pods.runs_rag:
        assert _parser().parse_args(pods.container["args"]).command


def test_a_model_is_waited_for_ten_minutes() -> None:
    [engine, _] = [p for p in pods_of(release("gpu")) if p.component.startswith("engine-")]
    probe = engine.container["startupProbe"]
    assert (probe["failureThreshold"], probe["periodSeconds"]) == (60, 10)
    assert engine.container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert engine.spec["nodeSelector"]
    assert engine.spec["tolerations"]


@pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed")
def test_arguments_of_the_engine_are_vllms() -> None:
    spec = find_spec("vllm")
    assert spec is not None
    assert spec.origin is not None
    sources = Path(spec.origin).parent
    known = (sources / "engine/arg_utils.py").read_text()
    known += (sources / "entrypoints/launchers/cli_args.py").read_text()
    [engine, _] = [p for p in pods_of(release("gpu")) if p.component.startswith("engine-")]
    for argument in engine.container["args"]:
        if argument.startswith("--"):
            field = argument.removeprefix("--").replace("-", "_")
            assert f'"{argument}"' in known or re.search(rf"^    {field}: ", known, re.M), argument


def selectors(objects: tuple[Json, ...]) -> Iterator[tuple[str, Json, set[str]]]:
    """Yields each selector of pods with its place and the kinds of pods that it is for."""
    for one in objects:
        place, spec = f"{one['kind']} {one['metadata']['name']}", one.get("spec", {})
        match one["kind"]:
            case "Deployment" | "StatefulSet":
                yield place, spec["selector"], {one["kind"]}
            case "PodDisruptionBudget":
                yield place, spec["selector"], {"Deployment", "StatefulSet"}
            case "Service":
                yield place, {"matchLabels": spec["selector"]}, {"Deployment", "StatefulSet"}
            case _:
                pass


@pytest.mark.parametrize("file", FILES)
def test_each_selector_finds_the_pods_of_one_object(file: str) -> None:
    objects = release(file)
    for place, selector, kinds in selectors(objects):
        found = [pods for pods in pods_of(objects) if selects(selector, pods.labels)]
        assert len(found) == 1, place
        assert found[0].kind in kinds, place
        assert "matchLabels" in selector, place


@pytest.mark.parametrize("file", FILES)
def test_what_stays_has_a_budget_for_disruptions(file: str) -> None:
    objects = release(file)
    budgets = of_kind(objects, "PodDisruptionBudget")
    for pods in pods_of(objects):
        if pods.stays:
            assert any(selects(one["spec"]["selector"], pods.labels) for one in budgets), pods.name
            assert pods.spec["topologySpreadConstraints"]
            for spread in pods.spec["topologySpreadConstraints"]:
                assert selects(spread["labelSelector"], pods.labels)


@pytest.mark.parametrize("file", FILES)
def test_ports_of_services_and_monitors_exist(file: str) -> None:
    objects = release(file)
    stays = [pods for pods in pods_of(objects) if pods.stays]
    for service in of_kind(objects, "Service"):
        [pods] = [
            p for p in stays if selects({"matchLabels": service["spec"]["selector"]}, p.labels)
        ]
        for port in service["spec"]["ports"]:
            assert pods.port(port["targetPort"]) == port["port"]
    services = of_kind(objects, "Service")
    for monitor in of_kind(objects, "ServiceMonitor"):
        found = [
            s for s in services if selects(monitor["spec"]["selector"], s["metadata"]["labels"])
        ]
        names = {port["name"] for service in found for port in service["spec"]["ports"]}
        assert {end["port"] for end in monitor["spec"]["endpoints"]} <= names
        assert found
    for monitor in of_kind(objects, "PodMonitor"):
        watched = [p for p in stays if selects(monitor["spec"]["selector"], p.labels)]
        assert len(watched) == sum(p.component.startswith("worker-") for p in stays) > 0
        for end in monitor["spec"]["podMetricsEndpoints"]:
            assert all(pods.port(end["port"]) for pods in watched)


@pytest.mark.parametrize("file", FILES)
def test_no_pod_goes_before_its_successor_is_ready(file: str) -> None:
    for one in of_kind(release(file), "Deployment"):
        assert one["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
        assert one["spec"]["minReadySeconds"] > 0


@pytest.mark.parametrize("file", FILES)
def test_tables_are_migrated_by_a_hook(file: str) -> None:
    [job] = of_kind(release(file), "Job")
    [pods] = pods_of([job])
    assert pods.container["args"] == ["migrate"]
    own = any(pods.component == "postgresql" for pods in pods_of(release(file)))
    hooks = job["metadata"]["annotations"]["helm.sh/hook"]
    assert hooks == f"{'post' if own else 'pre'}-install,pre-upgrade"
    needed = [*pods.container["env"], *pods.spec["volumes"]]
    assert "envFrom" not in pods.container  # what the chart makes is not there before it
    assert "persistentVolumeClaim" not in str(needed)


@pytest.mark.parametrize("file", EXAMPLES)
def test_what_is_scaled_is_there_and_has_no_number_of_its_own(file: str) -> None:
    objects = release(file)
    scalers = of_kind(objects, "ScaledObject", "HorizontalPodAutoscaler")
    targets = {one["spec"]["scaleTargetRef"]["name"] for one in scalers}
    deployments = of_kind(objects, "Deployment")
    scaled = {one["metadata"]["name"] for one in deployments if "replicas" not in one["spec"]}
    assert targets == scaled
    assert bool(scaled) == (file in ("gpu", "external"))


def test_only_batches_are_scaled_to_zero() -> None:
    for one in of_kind(render(KEDA), "ScaledObject"):
        least = one["spec"]["minReplicaCount"]
        assert (least == 0) == (one["metadata"]["name"] in BATCH)
        assert least <= one["spec"]["maxReplicaCount"]
        assert one["spec"]["cooldownPeriod"] > 0


def test_what_scales_is_exported() -> None:
    known = metrics.exposition(BACKLOG).decode() + f"\n{WAITING} \n{KV_CACHE_USAGE} "
    found = dict(queries(release("gpu")))
    assert found.keys() >= {"demo-plumbline-api", "demo-plumbline-engine-b", *BATCH}
    for _, trigger in queries(release("gpu")):
        parts: list[promql_parser.Expr] = []
        promql_parser.walk(promql_parser.parse(trigger["metadata"]["query"]), parts.append)
        series = [part for part in parts if isinstance(part, promql_parser.VectorSelector)]
        assert series
        for each in series:
            assert re.search(rf"^(# TYPE )?{each.name}[ {{]", known, re.M), each.name
        assert float(trigger["metadata"]["threshold"]) > 0


def test_monitors_name_jobs_as_alarms_and_scaling_expect() -> None:
    objects = release("gpu")
    jobs = {
        end["relabelings"][0]["replacement"]
        for one in of_kind(objects, "ServiceMonitor", "PodMonitor")
        for end in one["spec"].get("endpoints", one["spec"].get("podMetricsEndpoints"))
    }
    assert all(job.startswith("plumbline") for job in jobs)
    assert len(jobs) == 3
    asked = {
        job
        for _, trigger in queries(objects)
        for job in re.findall(r'job="([^"]+)"', trigger["metadata"]["query"])
    }
    assert asked
    assert asked <= jobs
    services = {s["metadata"]["name"] for s in of_kind(objects, "Service")}
    for _, trigger in queries(objects):
        assert set(re.findall(r'service="([^"]+)"', trigger["metadata"]["query"])) <= services


def test_a_long_name_of_a_release_is_cut() -> None:
    objects = render({}, name="a" * 53)
    assert max(len(one["metadata"]["name"]) for one in objects) <= 63
    assert named(objects, "Service", f"{'a' * 30}-plumbline-api")
