"""Error budgets: of a real Prometheus, and of one that is away or has other rules."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from rag.cli.main import main
from rag.errors import ConfigError, UpstreamError
from rag.operations.slo.error_budgets import Budget, read_budgets
from rag.operations.slo.freeze import Freeze, freeze_of
from rag.operations.slo.objectives import fingerprint, objectives
from rag.operations.slo.rules import rule_file
from rag.settings.slo import SloSettings
from tests.prometheus import needs_prometheus, prometheus_server
from tests.slo import answer_of

pytestmark = pytest.mark.anyio
URL = SloSettings(prometheus_url="http://user:secret@prometheus")
SLIS = ["requests", "questions", "first_token", "per_token", "retrieval", "groundedness"]


def recorded() -> str:
    """Returns two hours of two jobs: 2 % of the requests of one fail, 0.5 % of the other's."""
    now, lines = int(time.time()), []
    for job, failing in (("plumbline-a", 0.02), ("plumbline-b", 0.005)):
        labels = f'{{job="{job}",sli="requests"}}'
        for name, value in (
            ("plumbline:attempts:rate5m" + labels, 1.0),
            ("plumbline:failures:rate5m" + labels, failing),
            (f'up{{job="{job}"}}', 1),
        ):
            lines += [f"{name} {value} {now - 7200 + 60 * n}" for n in range(121)]
    return "\n".join(lines) + "\n"


async def until_known(settings: SloSettings) -> list[Budget]:
    """Returns the budgets, once Prometheus has started and evaluated its rules."""
    with anyio.fail_after(60):
        while True:
            try:
                found = await read_budgets(settings)
                if any(each.remaining is not None for each in found):
                    return found
            except UpstreamError:
                pass
            await anyio.sleep(0.1)


@needs_prometheus
async def test_a_real_prometheus_says_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    soon = rule_file(SloSettings()).replace("interval: 60s", "interval: 1s")
    soon = soon.replace("interval: 120s", "interval: 1s")
    with prometheus_server(tmp_path, recorded(), soon) as url:
        both = await until_known(SloSettings(prometheus_url=url))
        assert [(each.job, each.sli) for each in both] == [
            (job, sli) for job in ("plumbline-a", "plumbline-b") for sli in SLIS
        ]
        requests = [each for each in both if each.sli == "requests"]
        assert [(round(each.remaining or 0, 2), each.spent) for each in requests] == [
            (-1.0, True),
            (0.5, False),
        ]
        assert round(requests[0].burn or 0, 2) == 2
        assert all(each.remaining is None for each in both if each.sli != "requests")
        mine = SloSettings(prometheus_url=url, jobs="plumbline-b")
        assert await Freeze(lambda: read_budgets(mine)).look() is None
        frozen = await Freeze(lambda: read_budgets(SloSettings(prometheus_url=url))).look()
        assert frozen is not None
        assert frozen.code == "budget_spent"
        assert "requests of plumbline-a" in frozen.reason
        with pytest.raises(UpstreamError, match="scrapes no job like 'shop'"):
            await read_budgets(SloSettings(prometheus_url=url, jobs="shop"))
        with pytest.raises(UpstreamError, match="rules of other objectives"):
            await read_budgets(SloSettings(prometheus_url=url, availability=0.999))
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("RAG_SLO__PROMETHEUS_URL", url)
        await anyio.to_thread.run_sync(lambda: main(["slo"]))
        shown = capsys.readouterr().out
        assert "plumbline-a  requests      99.00% without a 5xx" in shown
        assert "-100.0%" in shown
        assert "too few events" in shown
        await anyio.to_thread.run_sync(lambda: main(["slo", "--json"]))
        body = json.loads(capsys.readouterr().out)
        assert body["days"] == 30
        assert body["budgets"][0]["spent"] is True


Answer = Callable[[httpx.Request], httpx.Response]


def away(_: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused")


def late(_: httpx.Request) -> httpx.Response:
    raise httpx.ReadTimeout("late")


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (away, "does not answer (ConnectError)"),
        (late, "does not answer (ReadTimeout)"),
        (lambda _: httpx.Response(401), "answers 401"),
        (lambda _: httpx.Response(200, text="<html>"), "does not answer as Prometheus does"),
        (lambda _: httpx.Response(200, json={"data": []}), "does not answer as Prometheus does"),
        (
            lambda _: httpx.Response(200, json={"data": {"result": []}}),
            "has no rules about objectives",
        ),
    ],
)
async def test_what_is_not_known_says_why_and_freezes(answer: Answer, says: str) -> None:
    async def read() -> list[Budget]:
        return await read_budgets(URL, httpx.MockTransport(answer))

    with pytest.raises(UpstreamError) as failed:
        await read()
    assert says in str(failed.value)
    assert "http://***@prometheus" in failed.value.detail
    frozen = await Freeze(read).look()
    assert frozen is not None
    assert frozen.code == "budget_unknown"
    assert says in frozen.reason


async def test_without_an_address_nothing_is_asked_and_nothing_frozen() -> None:
    with pytest.raises(ConfigError, match=r"slo\.prometheus_url"):
        await read_budgets(SloSettings())
    assert freeze_of(SloSettings()) is None


async def test_an_answer_holds_for_a_while() -> None:
    asked: list[Any] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json=answer_of(URL, remaining=0.4))

    freeze = Freeze(lambda: read_budgets(URL, httpx.MockTransport(answer)))
    for _ in range(5):
        assert await freeze.look() is None
    assert len(asked) == 1
    assert len(objectives(URL)) == len(SLIS)
    assert fingerprint(URL) in json.dumps(answer_of(URL, remaining=0.4))
