"""The rules of the objectives: the shipped file, and those of other settings."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from rag.errors import ConfigError
from rag.operations.slo.objectives import fingerprint, objectives
from rag.operations.slo.rules import FAST, SLOW, rule_file
from rag.settings.slo import RetrievalObjective, SloSettings
from tests.prometheus import OBJECTIVES, needs_promtool, promtool

STRICT = SloSettings(
    days=7,
    min_events=100,
    availability=0.9995,
    retrieval=RetrievalObjective(share=0.99, seconds=1),
)


def test_the_shipped_file_is_that_of_the_default_settings() -> None:
    assert OBJECTIVES.read_text() == rule_file(SloSettings()), "run `rag slo rules` and keep it"


@needs_promtool
def test_rules_of_other_objectives_are_valid(tmp_path: Path) -> None:
    file = tmp_path / "slo.yml"
    file.write_text(rule_file(STRICT))
    promtool("check", "rules", "--lint=all", "--lint-fatal", file)


def test_settings_are_in_the_rules() -> None:
    rules = [
        rule for group in yaml.safe_load(rule_file(STRICT))["groups"] for rule in group["rules"]
    ]
    recorded = {
        rule["labels"]["sli"]: rule["expr"]
        for rule in rules
        if rule.get("record") == "plumbline:slo:objective"
    }
    assert recorded["requests"].startswith("0.9995 * ")
    assert recorded["retrieval"].startswith("0.99 * ")
    (late,) = (r["expr"] for r in rules if 'stage="retrieve", le=' in r["expr"])
    assert 'le="1.0"' in late
    (left,) = (r["expr"] for r in rules if r.get("record") == "plumbline:slo:budget_remaining")
    assert 'window="7d"' in left
    assert ">= 100" in left


def test_rates_and_windows_are_those_of_the_workbook() -> None:
    pairs = [(pair.factor, pair.long, pair.short) for pair in (*FAST, *SLOW)]
    assert pairs == [(14.4, "1h", "5m"), (6, "6h", "30m"), (3, "1d", "2h"), (1, "3d", "6h")]
    # Table 5-8: the share of a budget of 30 days that is used in the long window.
    hours = {"1h": 1, "6h": 6, "1d": 24, "3d": 72}
    used = [round(factor * hours[long] / (30 * 24), 3) for factor, long, _ in pairs]
    assert used == [0.02, 0.05, 0.1, 0.1]


@pytest.mark.parametrize(
    "settings",
    [
        {"first_token": {"seconds": 2.0}},
        {"per_token": {"seconds": 0.2000001}},
        {"groundedness": {"floor": 0.55}},
    ],
)
def test_a_threshold_between_the_bounds_of_a_histogram_is_refused(
    settings: dict[str, object],
) -> None:
    with pytest.raises(
        ConfigError, match=r"is no bound of the histogram, which are 0\."
    ) as refused:
        objectives(SloSettings.model_validate(settings))
    assert f"slo.{next(iter(settings))}." in str(refused.value)


def test_rules_of_other_objectives_have_another_name() -> None:
    assert fingerprint(STRICT) != fingerprint(SloSettings())
    elsewhere = SloSettings(prometheus_url="http://prometheus:9090", jobs="plumbline-b")
    assert fingerprint(elsewhere) == fingerprint(SloSettings())
