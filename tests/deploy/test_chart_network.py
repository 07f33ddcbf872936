"""The NetworkPolicies let through what the settings name, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from ipaddress import ip_address, ip_network

import pytest

from tests.deploy.chart import (
    FILES,
    NAMESPACE,
    Pods,
    environment,
    of_kind,
    pods_of,
    release,
    render,
    selects,
    values_of,
)
from tests.servers import Json

URL = re.compile(r"(https?|redis)://([\w.-]+)(?::(\d+))?")
DEFAULT_PORTS = {"https": 443, "http": 80}
ELSEWHERE = {"app": "stranger"}
PRIVATE, PUBLIC = "10.99.0.1", "93.184.215.14"


class Network:
    """The pods of a release behind its policies, as Kubernetes applies them.

    A pod that a policy selects for a direction accepts only what one of its policies allows.
    """

    def __init__(self, objects: Sequence[Json]) -> None:
        self.objects = objects
        self.pods = {pods.component: pods for pods in pods_of(objects)}
        self._policies = [one["spec"] for one in of_kind(objects, "NetworkPolicy")]

    def connects(self, source: str, target: str, port: int) -> bool:
        """Returns True if a pod reaches a port of another one of the release."""
        here, there = self.pods[source].labels, self.pods[target].labels
        return self.leaves(source, port, labels=there) and self.enters(target, port, labels=here)

    def leaves(
        self, source: str, port: int, *, labels: dict[str, str] | None = None, address: str = ""
    ) -> bool:
        """Returns True if a pod may connect to a pod of the namespace, or to an address."""
        rules = self._rules(self.pods[source], "Egress")
        return any(_fits(rule, "to", port, labels, address) for rule in rules)

    def enters(self, target: str, port: int, *, labels: dict[str, str]) -> bool:
        """Returns True if a pod of the namespace may connect to one of the release."""
        rules = self._rules(self.pods[target], "Ingress")
        return any(_fits(rule, "from", port, labels, "") for rule in rules)

    def _rules(self, pods: Pods, direction: str) -> Iterator[Json]:
        applied = [
            policy
            for policy in self._policies
            if direction in policy["policyTypes"] and selects(policy["podSelector"], pods.labels)
        ]
        assert applied, f"no policy guards {pods.name}: everything is allowed"
        for policy in applied:
            yield from policy.get(direction.lower(), ())


def _fits(rule: Json, side: str, port: int, labels: dict[str, str] | None, address: str) -> bool:
    if "ports" in rule and port not in [each["port"] for each in rule["ports"]]:
        return False
    return side not in rule or any(_is(peer, labels, address) for peer in rule[side])


def _is(peer: Json, labels: dict[str, str] | None, address: str) -> bool:
    if "ipBlock" in peer:
        block = peer["ipBlock"]
        return (
            bool(address)
            and _within(address, block["cidr"])
            and not any(_within(address, each) for each in block.get("except", ()))
        )
    if labels is None:
        return False
    if "namespaceSelector" in peer:
        here = {"kubernetes.io/metadata.name": NAMESPACE}
        if not selects(peer["namespaceSelector"], here):
            return False
    return selects(peer.get("podSelector", {}), labels)


def _within(address: str, network: str) -> bool:
    return ip_address(address) in ip_network(network)


@pytest.fixture(scope="module", params=FILES)
def network(request: pytest.FixtureRequest) -> Network:
    return Network(release(request.param))


def named_in(network: Network, pods: Pods) -> Iterator[tuple[str, int]]:
    """Yields the hosts and ports that the settings of a process name."""
    for name, value in environment(network.objects, pods).items():
        if name.startswith("RAG_") and name != "RAG_SERVER":
            for scheme, host, port in URL.findall(str(value)):
                yield host, int(port or DEFAULT_PORTS[scheme])
    if "postgresql" in network.pods:  # its address is in the Secret
        yield f"demo-plumbline-postgresql.{NAMESPACE}.svc", 5432


def test_a_process_reaches_what_its_settings_name(network: Network) -> None:
    services = {s["metadata"]["name"]: s["spec"] for s in of_kind(network.objects, "Service")}
    for pods in network.pods.values():
        if not pods.runs_rag:
            continue
        for host, port in named_in(network, pods):
            if not host.endswith(f".{NAMESPACE}.svc"):
                assert network.leaves(pods.component, port, address=outside(network, host)), host
                continue
            parts = host.removesuffix(f".{NAMESPACE}.svc").split(".")
            target = services[parts[-1]]["selector"]["app.kubernetes.io/component"]
            assert network.connects(pods.component, target, port), (pods.component, host)


def outside(network: Network, host: str) -> str:
    """Returns an address of a host outside the cluster, where examples/external.yaml puts it."""
    return "10.30.0.1" if host.startswith("qdrant") else PUBLIC


def test_databases_are_reached_by_processes_of_rag_alone(network: Network) -> None:
    for component, port in (("qdrant", 6333), ("postgresql", 5432), ("redis", 6379)):
        if component not in network.pods:
            continue
        for pods in network.pods.values():
            allowed = network.connects(pods.component, component, port)
            assert allowed == pods.runs_rag, (pods.component, component)
        assert not network.enters(component, port, labels=ELSEWHERE)
        assert not network.leaves(component, 443, address=PUBLIC)
        assert not network.enters(component, 22, labels=network.pods["api"].labels)


def test_external_databases_are_reached_at_their_addresses_alone() -> None:
    network = Network(release("external"))
    for source in ("api", "worker-embed", "migration", "job-audit-verify"):
        assert network.leaves(source, 5432, address="10.20.3.4")
        assert network.leaves(source, 6380, address="10.20.3.4")
        assert network.leaves(source, 6334, address="10.30.3.4")
        assert not network.leaves(source, 5432, address=PRIVATE)
        assert not network.leaves(source, 5432, address=PUBLIC)


def test_the_internet_has_no_way_to_private_addresses(network: Network) -> None:
    assert network.leaves("api", 443, address=PUBLIC)
    for address in (PRIVATE, "192.168.1.1", "172.20.0.1", "169.254.169.254", "fd00::1"):
        assert not network.leaves("api", 443, address=address), address
    assert not network.leaves("api", 25, address=PUBLIC)


def test_without_the_internet_nothing_leaves_the_cluster() -> None:
    policy = {"networkPolicy": {"internet": False}}
    network = Network(render(values_of("gpu") | policy))
    for component in network.pods:
        for port in (80, 443):
            assert not network.leaves(component, port, address=PUBLIC), component


def test_engines_are_asked_by_processes_of_rag_alone() -> None:
    network = Network(release("gpu"))
    for engine in ("engine-a", "engine-b"):
        assert network.connects("api", engine, 8000)
        assert network.connects("worker-batches", engine, 8000)
        assert not network.enters(engine, 8000, labels=ELSEWHERE)
        assert not network.connects("qdrant", engine, 8000)
        assert not network.leaves(engine, 443, address=PUBLIC)  # its models are on a volume
    assert not network.leaves("engine-a", 8000, labels=network.pods["api"].labels)


def test_nodes_of_a_cluster_reach_each_other() -> None:
    network = Network(release("gpu"))
    assert network.connects("qdrant", "qdrant", 6335)
    assert not network.connects("api", "qdrant", 6335)


def test_names_are_resolved_by_all(network: Network) -> None:
    [default] = [
        one["spec"]
        for one in of_kind(network.objects, "NetworkPolicy")
        if one["metadata"]["name"].endswith("-default")
    ]
    assert all(selects(default["podSelector"], pods.labels) for pods in network.pods.values())
    [rule] = default["egress"]
    assert {(each["protocol"], each["port"]) for each in rule["ports"]} == {
        ("UDP", 53),
        ("TCP", 53),
    }


def test_clients_reach_the_api_and_nothing_else(network: Network) -> None:
    strict = Network(release("external"))
    assert not strict.enters("api", 8000, labels=ELSEWHERE)  # the ingress controller's namespace
    assert Network(release("values")).enters("api", 8000, labels=ELSEWHERE)
    for component, pods in network.pods.items():
        if component != "api":
            for port in [each["containerPort"] for each in pods.container.get("ports", ())]:
                assert not network.enters(component, port, labels=ELSEWHERE), component
