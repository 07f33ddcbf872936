"""Error budgets, as Prometheus has them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from rag.errors import ConfigError, UpstreamError
from rag.operations.slo.objectives import fingerprint, objectives
from rag.privacy.redaction import masked
from rag.settings.slo import SloSettings

ASK_SECONDS = 3.0
"""Seconds in which Prometheus has to answer."""
MADE_BY = "Load those that `rag slo rules` writes (docs/slo.md)."
_QUERY = """\
plumbline:slo:settings
  or {{__name__=~"plumbline:slo:(objective|budget_remaining)", job=~{jobs}}}
  or plumbline:slo:burn{{window="1h", job=~{jobs}}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The error budget of an objective in a job.

    Attributes:
        job: the name of the job in Prometheus.
        sli: the objective's indicator.
        target: the objective in words.
        remaining: share of the budget that is left, negative once more is spent; None: there were
            too few events.
        burn: rate of the last hour at which it is used, as a factor of the allowed one; None: there
            were no events.
    """

    job: str
    sli: str
    target: str
    remaining: float | None
    burn: float | None

    @property
    def spent(self) -> bool:
        """True if nothing is left."""
        return self.remaining is not None and self.remaining <= 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sample:
    """A sample of an answer; labels that it lacks are empty."""

    name: str
    job: str
    sli: str
    fingerprint: str
    value: float


async def read_budgets(
    settings: SloSettings, transport: httpx.AsyncBaseTransport | None = None
) -> list[Budget]:
    """Asks Prometheus for the budgets of all jobs, by job, in the order of the objectives.

    Raises:
        ConfigError: `slo.prometheus_url` is not set.
        UpstreamError: Prometheus does not answer, has other rules, or does not scrape a process.
    """
    if settings.prometheus_url is None:
        raise ConfigError(
            "Which Prometheus measures the objectives is not set: slo.prometheus_url."
        )
    found = await _ask(settings.prometheus_url, query(settings), transport)
    _check_rules(found, settings)
    remaining = _values(found, "plumbline:slo:budget_remaining")
    burn = _values(found, "plumbline:slo:burn")
    jobs = sorted({job for job, _ in _values(found, "plumbline:slo:objective")})
    if not jobs:
        raise _unknown(settings.prometheus_url, f"scrapes no job like {settings.jobs!r} (slo.jobs)")
    return [
        Budget(
            job=job,
            sli=each.sli,
            target=each.target,
            remaining=remaining.get((job, each.sli)),
            burn=burn.get((job, each.sli)),
        )
        for job in jobs
        for each in objectives(settings)
    ]


def query(settings: SloSettings) -> str:
    """Returns the expression that Prometheus is asked."""
    return _QUERY.format(jobs=json.dumps(settings.jobs))


async def _ask(
    url: str, expression: str, transport: httpx.AsyncBaseTransport | None
) -> Sequence[_Sample]:
    async with httpx.AsyncClient(transport=transport, timeout=ASK_SECONDS) as client:
        try:
            address = f"{url.rstrip('/')}/api/v1/query"
            answer = await client.get(address, params={"query": expression})
            answer.raise_for_status()
            samples = [_sample(each) for each in answer.json()["data"]["result"]]
        except httpx.HTTPStatusError as error:
            raise _unknown(url, f"answers {error.response.status_code}") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _unknown(url, f"does not answer ({type(error).__name__})") from error
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise _unknown(url, "does not answer as Prometheus does") from error
    return samples


def _sample(found: Mapping[str, Any]) -> _Sample:
    labels = found["metric"]
    return _Sample(
        name=labels["__name__"],
        job=labels.get("job", ""),
        sli=labels.get("sli", ""),
        fingerprint=labels.get("fingerprint", ""),
        value=float(found["value"][1]),
    )


def _check_rules(found: Sequence[_Sample], settings: SloSettings) -> None:
    loaded = {each.fingerprint for each in found} - {""}
    assert settings.prometheus_url is not None  # noqa: S101 - it was asked
    if not loaded:
        raise _unknown(settings.prometheus_url, f"has no rules about objectives. {MADE_BY}")
    if fingerprint(settings) not in loaded:
        wrong = f"has the rules of other objectives than the settings. {MADE_BY}"
        raise _unknown(settings.prometheus_url, wrong)


def _values(found: Sequence[_Sample], name: str) -> dict[tuple[str, str], float]:
    """Returns the values of a series by job and indicator."""
    return {(each.job, each.sli): each.value for each in found if each.name == name}


def _unknown(url: str, what: str) -> UpstreamError:
    return UpstreamError(
        f"Prometheus (slo.prometheus_url) {what.rstrip('.')}.",
        code="slo_unknown",
        detail=f"Its address: {masked(url)}.",
    )
