"""Answers of a Prometheus that has the rules of `rag slo rules`."""

from __future__ import annotations

from typing import Any

from rag.operations.slo.objectives import fingerprint, objectives
from rag.settings.slo import SloSettings


def answer_of(settings: SloSettings, *, remaining: float) -> dict[str, Any]:
    """Returns what it is asked by `read_budgets`: of each objective, this is left."""
    result: list[Any] = [
        {
            "metric": {"__name__": "plumbline:slo:settings", "fingerprint": fingerprint(settings)},
            "value": [0, "1"],
        }
    ]
    for each in objectives(settings):
        for name, value in (("objective", each.share), ("budget_remaining", remaining)):
            metric = {"__name__": f"plumbline:slo:{name}", "job": "plumbline", "sli": each.sli}
            result.append({"metric": metric, "value": [0, str(value)]})
    return {"status": "success", "data": {"resultType": "vector", "result": result}}
