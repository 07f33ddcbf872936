"""Rules for Prometheus, made of the objectives of the settings.

An error budget is the share of events that may be bad. Alarms look at the rate at which it is used
over two windows: a long one shows that the rate matters, a short one that it continues (Google,
The Site Reliability Workbook, chapter 5, "Multiwindow, Multi-Burn-Rate Alerts", table 5-8:
https://sre.google/workbook/alerting-on-slos/).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from rag.operations.slo.objectives import Objective, fingerprint, objectives
from rag.settings.slo import SloSettings

Rule = dict[str, Any]
EVALUATION = 60
"""Seconds between evaluations of the rates."""
BUDGET_EVALUATION = 120
"""The same of the budget: less than the five minutes after which Prometheus forgets a value."""
AVAILABILITY = "requests|questions"
_ON = "on (job, sli)"
_HEADER = """\
# Made by `rag slo rules` from the settings `slo`: change these, and make it again. docs/slo.md says
# what it records, docs/runbooks/ what the alarms mean. Prometheus 2.42 or later is needed.
"""


@dataclass(frozen=True, slots=True)
class Pair:
    """A rate at which a budget is used, as a factor of the allowed one, and its two windows."""

    factor: float
    long: str
    short: str


FAST = (Pair(14.4, "1h", "5m"), Pair(6, "6h", "30m"))
"""2 % of the budget of 30 days in an hour, and 5 % in six."""
SLOW = (Pair(3, "1d", "2h"), Pair(1, "3d", "6h"))
"""10 % of it in a day, and in three."""
_RATIO_WINDOWS = ("30m", "1h", "2h", "6h", "1d", "3d")
_COUNT_WINDOWS = tuple(pair.long for pair in (*FAST, *SLOW))


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def rule_file(settings: SloSettings) -> str:
    """Returns the file of rules.

    Raises:
        ConfigError: A threshold is no bound of its histogram's buckets.
    """
    groups = [
        {
            "name": "plumbline-slo",
            "interval": f"{EVALUATION}s",
            "rules": [*_recorded(settings), *_burn_alarms(settings.min_events)],
        },
        {
            "name": "plumbline-slo-budget",
            "interval": f"{BUDGET_EVALUATION}s",
            "rules": [*_budgets(settings), _spent(settings.days)],
        },
    ]
    body = yaml.dump({"groups": groups}, Dumper=_Dumper, sort_keys=False, width=1000)
    return _HEADER + "\n" + body


def _recorded(settings: SloSettings) -> Iterator[Rule]:
    """Yields the rates of events and bad ones, and the shares of bad ones by window."""
    found = objectives(settings)
    yield _record("settings", "vector(1)", {"fingerprint": fingerprint(settings)}, of="slo")
    for each in found:
        scraped = f"group by (job) (up{{job=~{json.dumps(settings.jobs)}}})"
        yield _record("objective", f"{each.share!r} * {scraped}", {"sli": each.sli}, of="slo")
    yield from _rates(found)
    bad, events = "plumbline:failures:rate5m", "plumbline:attempts:rate5m"
    yield _record("ratio", f"{bad} / ({events} > 0)", {"window": "5m"}, of="failures")
    for window in _RATIO_WINDOWS:
        yield _ratio(window)
    for window in _COUNT_WINDOWS:
        yield _count(window)
    yield _record(
        "burn",
        f"plumbline:failures:ratio / {_ON} group_left () (1 - plumbline:slo:objective)",
        of="slo",
    )


def _rates(found: Sequence[Objective]) -> Iterator[Rule]:
    for each in found:
        yield _record("rate5m", each.events, {"sli": each.sli}, of="attempts")
    for each in found:  # zero if nothing fails: a mean over times with failures would be too high
        none = f'or on (job) 0 * plumbline:attempts:rate5m{{sli="{each.sli}"}}'
        yield _record("rate5m", f"{each.bad}\n  {none}\n", {"sli": each.sli}, of="failures")


def _ratio(window: str) -> Rule:
    bad, events = "plumbline:failures:rate5m", "plumbline:attempts:rate5m"
    return _record(
        "ratio",
        f"sum_over_time({bad}[{window}]) / (sum_over_time({events}[{window}]) > 0)",
        {"window": window},
        of="failures",
    )


def _count(window: str) -> Rule:
    """Returns the rule for the number of events in a window."""
    events = f"sum_over_time(plumbline:attempts:rate5m[{window}])"
    return _record("count", f"{events} * {EVALUATION}", {"window": window}, of="attempts")


def _burn_alarms(min_events: int) -> Iterator[Rule]:
    errors, others = f'sli=~"{AVAILABILITY}"', f'sli!~"{AVAILABILITY}"'
    for name, which, severity, pairs in (
        ("PlumblineErrorsFast", errors, "page", FAST),
        ("PlumblineErrorsSlow", errors, "ticket", SLOW),
        ("PlumblineObjectiveFast", others, "page", FAST),
        ("PlumblineObjectiveSlow", others, "ticket", SLOW),
    ):
        joined = f"or {_ON}\n".join(_condition(pair, which, min_events) for pair in pairs)
        fast = pairs is FAST
        yield _alarm(
            name,
            joined,
            severity,
            summary="{{ $labels.job }}: the error budget of {{ $labels.sli }} "
            + ("will not last" if fast else "is used faster than allowed"),
            description="Over {{ $labels.window }}, {{ $labels.sli }} used the error budget"
            ' {{ $value | printf "%.1f" }} times as fast as allowed.',
        )


def _condition(pair: Pair, which: str, min_events: int) -> str:
    """Returns an alarm's condition. One bad event alone never fulfils it."""
    burn, count = "plumbline:slo:burn", f'plumbline:attempts:count{{window="{pair.long}"}}'
    allowed = f"{count} * {_ON} (1 - plumbline:slo:objective) * {pair.factor:g} >= 1"
    return (
        f'({burn}{{{which}, window="{pair.long}"}} > {pair.factor:g}\n'
        f'  and {_ON} {burn}{{window="{pair.short}"}} > {pair.factor:g}\n'
        f"  and {_ON} {count} >= {min_events}\n"
        f"  and {_ON} {allowed})\n"
    )


def _budgets(settings: SloSettings) -> Iterator[Rule]:
    """Yields what is left of the budgets: 1 at first, 0 when it is spent, then below."""
    window = f"{settings.days}d"
    if window not in _RATIO_WINDOWS:
        yield _ratio(window)
    if window not in _COUNT_WINDOWS:
        yield _count(window)
    count = f'sum by (job, sli) (plumbline:attempts:count{{window="{window}"}})'
    ratio = f'sum by (job, sli) (plumbline:failures:ratio{{window="{window}"}})'
    yield _record(
        "budget_remaining",
        f"1 - {ratio} / {_ON} (1 - plumbline:slo:objective)\n"
        f"  and {_ON} {count} >= {settings.min_events}\n"
        f"  and {_ON} {count} * {_ON} (1 - plumbline:slo:objective) >= 1\n",
        of="slo",
    )


def _spent(days: int) -> Rule:
    return _alarm(
        "PlumblineObjectiveMissed",
        "plumbline:slo:budget_remaining <= 0",
        "ticket",
        summary="{{ $labels.job }}: the error budget of {{ $labels.sli }} is spent",
        description="{{ $value | humanizePercentage }} of the error budget of {{ $labels.sli }}"
        f" over {days} days is left: rollouts are refused.",
    )


def _record(name: str, expr: str, labels: dict[str, str] | None = None, *, of: str) -> Rule:
    rule: Rule = {"record": f"plumbline:{of}:{name}", "expr": expr}
    return rule | ({"labels": labels} if labels else {})


def _alarm(name: str, expr: str, severity: str, *, summary: str, description: str) -> Rule:
    return {
        "alert": name,
        "expr": expr,
        "labels": {"severity": severity},
        "annotations": {
            "summary": summary,
            "description": description,
            "runbook_url": f"docs/runbooks/{name}.md",
        },
    }
