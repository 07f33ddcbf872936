"""The alarms, their runbooks and the dashboard name only series that processes export."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from promql_parser import AggregateExpr, BinaryExpr, Expr, MatchOp, VectorSelector

from rag.telemetry import (
    batch_metrics,
    cache_metrics,
    gpu_metrics,
    instruments,
    metrics,
    replica_metrics,
    rollout_metrics,
    synthetic_metrics,
)
from rag.types import REASONS, Delta, Usage
from tests.places import ROOT
from tests.prometheus import OBJECTIVES, RULES, needs_promtool, promtool
from tests.rag.telemetry.test_metrics import BACKLOG

PROMETHEUS = RULES.parent
RUNBOOKS = ROOT / "docs" / "runbooks"
DASHBOARD = ROOT / "deploy" / "grafana" / "plumbline.json"
GROUPS: list[dict[str, Any]] = [
    group for file in (RULES, OBJECTIVES) for group in yaml.safe_load(file.read_text())["groups"]
]
RULE_LIST: list[dict[str, Any]] = [rule for group in GROUPS for rule in group["rules"]]
ALARMS = {rule["alert"]: rule for rule in RULE_LIST if "alert" in rule}
RECORDS = [rule for rule in RULE_LIST if "record" in rule]
GRAFANA: dict[str, Any] = json.loads(DASHBOARD.read_text())
PANELS: list[dict[str, Any]] = [panel for panel in GRAFANA["panels"] if panel["type"] != "row"]
QUERIES: list[str] = [target["expr"] for panel in PANELS for target in panel["targets"]]
OF_SCRAPES = {"job", "instance"}
OF_PROMETHEUS = {
    "up": OF_SCRAPES,
    "ALERTS": {"job", "alertname", "alertstate"},
    "process_cpu_seconds_total": OF_SCRAPES,  # by Python's client, if the system has /proc
    "process_start_time_seconds": OF_SCRAPES,
}
OF_VLLM = {
    "vllm:kv_cache_usage_perc",
    "vllm:num_preemptions_total",
    "vllm:num_requests_waiting",
    "vllm:prefix_cache_hits_total",
    "vllm:prefix_cache_queries_total",
}
"""Those that vLLM's engine exports in its process."""
INSTANCE = ', instance=~"$instance"'
"""A matcher of the dashboard; series that the rules record are of a job, and match all."""
Labels = dict[str, set[str]]


@pytest.fixture(scope="module")
def exported() -> Labels:
    """The labels of each series that a process exports after every kind of event."""
    metrics.request("POST", "/v1/query", 200, "", 0.1)
    with metrics.Question("answer", "acme") as question:
        question.outcome = "answered"
    spent = Usage(input_tokens=1, output_tokens=1)
    metrics.stages([("total", 1.0)], ["rerank: away"], spent, "acme")
    pace = metrics.Pace(live=True)
    pace.add(Delta(text="a", model="tiny"))
    usage = Usage(input_tokens=1, output_tokens=2)
    pace.add(Delta(model="tiny", usage=usage, finish_reason="stop"))
    instruments.markers.labels("supported")
    metrics.batch("embedder", 1)
    metrics.waiting("embedder", interactive=0, bulk=0)
    cache_metrics.cache("vectors", hits=1, misses=1)
    metrics.document("stored", "acme")
    metrics.audit_rows("lost", 1)
    metrics.cost("answer", 0.1, "acme")
    metrics.score("groundedness", 1.0)
    metrics.feedback("up")
    metrics.traces("sent", 1)
    metrics.limited("key-requests")
    batch_metrics.lines("done", 0)
    with metrics.queued("standard"):
        pass
    cache_metrics.answer_cache("miss")
    rollout_metrics.variants({"v": True})
    replica_metrics.load("r", requests=0, tokens=0)
    replica_metrics.state("r", ready=True, ejected=False)
    replica_metrics.engine(
        "r", waiting=0, kv_cache_usage=0, preemptions=0, prefix_hits=0, prefix_queries=0
    )
    gpu_metrics.known(answers=True)
    gpu_metrics.healthy("g", is_healthy=True)
    gpu_metrics.xid("g", 79)
    gpu_metrics.reading(
        "g",
        celsius=60.0,
        memory_used=1,
        memory_total=2,
        watts=100.0,
        ecc=0,
        slowed=frozenset(),
    )
    synthetic_metrics.run({"ingest": 0.1}, succeeded=True)
    families = text_string_to_metric_families(metrics.exposition(BACKLOG).decode())
    found: Labels = {name: OF_SCRAPES | {"engine", "model_name"} for name in OF_VLLM}
    for family in families:
        for sample in family.samples:
            found.setdefault(sample.name, set(OF_SCRAPES)).update(sample.labels)
    return found


@pytest.fixture(scope="module")
def known(exported: Labels) -> Labels:
    """The exported series, Prometheus' own series, and those that the rules record."""
    found = exported | OF_PROMETHEUS
    for rule in RECORDS:
        labels = labels_of(rule["expr"], found) | set(rule.get("labels", {}))
        found[rule["record"]] = found.get(rule["record"], set()) | labels
    return found


def parsed(expression: str) -> list[Expr]:
    """Returns all parts of an expression, the outer ones first."""
    found: list[Expr] = []
    promql_parser.walk(
        promql_parser.parse(expression.replace("$__rate_interval", "5m")), found.append
    )
    return found


def labels_of(expression: str, known: Labels) -> set[str]:
    """Returns the labels that a result may have: those summed by, else those of its series."""
    parts = parsed(expression)
    by = [set(p.modifier.labels) for p in parts if isinstance(p, AggregateExpr) and p.modifier]
    series = [
        known.get(part.name or "", set()) for part in parts if isinstance(part, VectorSelector)
    ]
    return set().union(*(by or series))


def strangers(expression: str, known: Labels) -> Iterator[str]:
    """Yields the series, and labels to select, join or sum by, that nothing exports."""
    there: set[str] = set()
    named: set[str] = set()
    for part in parsed(expression):
        if isinstance(part, VectorSelector):
            name = part.name or ""
            labels = known.get(name)
            if labels is None:
                yield name
                continue
            there |= labels
            yield from (
                f"{name}{{{matcher.name}}}"
                for matcher in part.matchers.matchers
                if matcher.name not in labels
            )
        elif isinstance(part, AggregateExpr) and part.modifier:
            named |= set(part.modifier.labels)
        elif isinstance(part, BinaryExpr) and part.modifier and part.modifier.matching:
            named |= set(part.modifier.matching.labels)
    yield from named - there


def test_what_an_expression_names_is_noticed(known: Labels) -> None:
    wrong = 'sum by (tenant) (plumbline_degraded_total{step="rerank"}) / on (shop) plumbline_gone'
    assert set(strangers(wrong, known)) == {
        "plumbline_degraded_total{step}", "plumbline_gone", "tenant", "shop",
    }  # fmt: skip


@pytest.mark.parametrize("expression", [*(rule["expr"] for rule in RULE_LIST), *QUERIES])
def test_what_an_expression_names_is_exported(known: Labels, expression: str) -> None:
    assert list(strangers(expression.replace(INSTANCE, ""), known)) == []


def test_vllm_has_the_series_that_are_its_own() -> None:
    found = find_spec("vllm")
    if found is None or found.origin is None:
        pytest.skip("vLLM is not installed")
    loggers = (Path(found.origin).parent / "v1" / "metrics" / "loggers.py").read_text()
    for name in OF_VLLM:
        assert f'name="{name.removesuffix("_total")}"' in loggers


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_says_what_is_so_and_where_to_read_on(known: Labels, name: str) -> None:
    rule = ALARMS[name]
    annotations = rule["annotations"]
    assert rule["labels"] == {"severity": rule["labels"]["severity"]}
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert annotations["runbook_url"] == f"docs/runbooks/{name}.md"
    assert set(annotations) == {"summary", "description", "runbook_url"}
    assert "$value" in annotations["description"]
    used = set(re.findall(r"\$labels\.(\w+)", " ".join(annotations.values())))
    assert used <= labels_of(rule["expr"], known)
    unit_tests = "".join(file.read_text() for file in PROMETHEUS.glob("*_test.yml"))
    assert f'alertname="{name}"' in unit_tests or f"alertname: {name}" in unit_tests


def test_every_alarm_has_a_page_and_every_page_an_alarm() -> None:
    pages = {page.stem for page in RUNBOOKS.glob("Plumbline*.md")}
    assert pages == set(ALARMS)
    for index in (RUNBOOKS / "README.md", ROOT / "docs" / "alarms.md"):
        assert set(re.findall(r"\b(Plumbline[A-Z]\w+)\.md\)", index.read_text())) == pages
    for page in pages:
        text = (RUNBOOKS / f"{page}.md").read_text()
        assert text.startswith(f"# {page}\n")
        headings = re.findall("^## (.+)$", text, re.MULTILINE)
        assert headings == [
            "What users see",
            "How to look",
            "What to do",
            "When it is a false alarm",
        ]


def test_a_page_asks_for_what_is_exported(known: Labels) -> None:
    for page in RUNBOOKS.glob("*.md"):
        for block in re.findall(r"```promql\n(.+?)```", page.read_text(), re.DOTALL):
            for expression in block.strip().split("\n"):
                assert list(strangers(expression, known)) == [], page.name


def test_reasons_to_abstain_and_callers_errors_are_those_of_the_service() -> None:
    matchers = [
        (matcher.op, set(matcher.value.split("|")))
        for rule in RULE_LIST
        for part in parsed(rule["expr"])
        if isinstance(part, VectorSelector)
        for matcher in part.matchers.matchers
        if matcher.name == "outcome"
    ]
    unlike = [values for op, values in matchers if op == MatchOp.NotRe]
    (ends,) = (values for values in unlike if "found" in values)
    (callers,) = (values for values in unlike if "found" not in values)
    assert ends == {"found", "answered", *REASONS}
    assert (MatchOp.Re, set(REASONS)) in matchers
    documented = "".join((ROOT / "docs" / page).read_text() for page in ("ask.md", "generate.md"))
    rows = re.findall(r"^\| 4\d\d \|(.+)$", documented, re.MULTILINE)
    assert callers <= set(re.findall(r"`(\w+)`", " ".join(rows)))


def test_the_dashboard_asks_four_questions_in_order() -> None:
    rows = [panel["title"] for panel in GRAFANA["panels"] if panel["type"] == "row"]
    assert rows == [
        "Is it working?",
        "Where is the bottleneck?",
        "What changed?",
        "What does it cost?",
    ]


def test_panels_say_what_they_show_and_lie_side_by_side() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in GRAFANA["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + i, at["y"] + j) for i in range(at["w"]) for j in range(at["h"])}
        assert not cells & taken
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in GRAFANA["panels"]}) == len(GRAFANA["panels"])
    for panel in PANELS:
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        for asked in (panel, *panel["targets"]):
            assert asked["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_legends_job_and_instance_are_of_the_series(known: Labels) -> None:
    for panel in PANELS:
        for target in panel["targets"]:
            used = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            assert used <= labels_of(target["expr"], known), panel["title"]
            for part in parsed(target["expr"]):
                if isinstance(part, VectorSelector):
                    assert 'job=~"$job"' in str(part), panel["title"]
                    assert 'instance=~"$instance"' in str(part), panel["title"]


def test_variables_of_the_dashboard_can_be_any_or_all() -> None:
    variables = {each["name"]: each for each in GRAFANA["templating"]["list"]}
    assert list(variables) == ["datasource", "job", "instance"]
    for name in ("job", "instance"):
        variable = variables[name]
        assert variable["label"] == name.capitalize()
        assert variable["multi"]
        assert variable["includeAll"]
        assert list(parsed(variable["query"]["query"].split("(", 1)[1].rsplit(",", 1)[0]))
    assert re.fullmatch(variables["instance"]["allValue"], "")  # of a series without an instance


def test_no_rate_of_the_dashboard_is_over_a_fixed_time() -> None:
    """A rate over less than four scrapes has gaps: Grafana knows how often they are."""
    assert not [query for query in QUERIES if re.search(r"rate\(\w+({[^}]*})?\[\d", query)]


def test_an_alarm_over_a_comparison_with_the_past_lasts() -> None:
    """After a restart, Prometheus has the past before it has scraped all servers."""
    for name, rule in ALARMS.items():
        if " offset " in rule["expr"]:
            assert rule.get("for"), name


@needs_promtool
@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "rules", "--lint=all", "--lint-fatal", RULES, OBJECTIVES),
        ("check", "config", PROMETHEUS / "prometheus.yml"),
        ("test", "rules", PROMETHEUS / "alerts_test.yml"),
        ("test", "rules", PROMETHEUS / "slo_test.yml"),
    ],
    ids=["check rules", "check config", "test alerts", "test objectives"],
)
def test_promtool_agrees(arguments: tuple[str, ...]) -> None:
    promtool(*arguments)
