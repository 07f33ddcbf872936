from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from generation import fallback
from generation.fallback import Engine, FallbackGenerator
from generation.probe import Probe
from rag.errors import BusyError, InputError, RagError, UpstreamError
from rag.process.circuit_breaker import FAILURES, PAUSE_SECONDS, Breaker
from rag.types import Delta, Prompt, Scope, Usage
from tests.model_server import model_server, refuses

pytestmark = pytest.mark.anyio
PROMPT = Prompt(question="Why?", scope=Scope(tenant="t", collection="c"), hits=())


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Scripted:
    """A generator that streams scripted deltas, then raises its error if it has one."""

    def __init__(self, *deltas: Delta, error: RagError | None = None, pause: float = 0) -> None:
        self.deltas, self.error, self.pause = deltas, error, pause
        self.asked = 0
        self.closed = 0

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Delta, None]:
        self.asked += 1
        try:
            for delta in self.deltas:
                await asyncio.sleep(self.pause)
                yield delta
            if self.error:
                raise self.error
        finally:
            self.closed += 1


def answers(name: str) -> Scripted:
    return Scripted(Delta(text=f"I am {name}.", model=name), Delta(model=name, confidence=0.9))


def chain(clock: Clock, *, seconds: float = 30, **generators: Scripted) -> FallbackGenerator:
    engines = [Engine(name=n, generator=g, breaker=Breaker(clock)) for n, g in generators.items()]
    return FallbackGenerator(engines, seconds=seconds)


async def collect(generator: FallbackGenerator) -> tuple[str, tuple[str, ...]]:
    deltas = [delta async for delta in generator.stream(PROMPT)]
    return "".join(d.text for d in deltas), tuple(c for d in deltas for c in d.degraded)


async def test_the_first_answers_and_nobody_else_is_asked() -> None:
    small = answers("small")
    assert await collect(chain(Clock(), big=answers("big"), small=small)) == ("I am big.", ())
    assert small.asked == 0


@pytest.mark.parametrize("kind", [UpstreamError, BusyError, InputError])
async def test_where_one_fails_before_its_first_text_the_next_answers(kind: type[RagError]) -> None:
    failing = [Scripted(error=kind(f"{name} is away.")) for name in ("big", "small")]
    generator = chain(Clock(), big=failing[0], small=failing[1], extractive=answers("last"))
    assert await collect(generator) == (
        "I am last.",
        ("generate: big is away.", "generate: small is away."),
    )


async def test_what_a_generator_took_before_it_failed_counts_with_the_next_one_s() -> None:
    spent = Delta(model="big", usage=Usage(input_tokens=9, output_tokens=4, cost=0.5))
    failing = Scripted(spent, error=UpstreamError("It is no JSON."))
    small = Scripted(Delta(text="Yes.", usage=Usage(input_tokens=7, output_tokens=1)))
    plain = Scripted(Delta(text="Yes."))
    for last, total in (
        (small, Usage(input_tokens=16, output_tokens=5, cost=0.5)),
        (plain, Usage(input_tokens=9, output_tokens=4, cost=0.5)),
    ):
        generator = chain(Clock(), big=failing, last=last)
        *_, delta = [delta async for delta in generator.stream(PROMPT)]
        assert delta.usage == total


async def test_one_that_is_late_to_begin_is_passed_over_and_left_alone_in_the_end() -> None:
    slow = Scripted(Delta(text="I am slow.", model="slow"), pause=0.1)
    generator = chain(Clock(), seconds=0.01, slow=slow, last=answers("last"))
    for _ in range(FAILURES):
        degraded = ("generate: slow did not begin within 0.01 s",)
        assert await collect(generator) == ("I am last.", degraded)
    assert slow.closed == FAILURES
    assert "is left alone" in (await collect(generator))[1][0]


async def test_one_that_has_begun_may_take_its_time() -> None:
    slow = Scripted(*(Delta(text="word ", model="slow") for _ in range(4)), pause=0.04)
    generator = chain(Clock(), seconds=0.1, slow=slow, last=answers("last"))
    assert await collect(generator) == ("word " * 4, ())


async def test_one_whose_json_is_on_the_way_is_not_late_and_may_yet_be_passed_over() -> None:
    begun = Delta(model="slow")
    slow = Scripted(begun, Delta(text="{}", model="slow"), pause=0.06)
    generator = chain(Clock(), seconds=0.1, slow=slow, last=answers("last"))
    assert await collect(generator) == ("{}", ())
    broken = Scripted(begun, error=UpstreamError("no JSON", code="not_json"))
    generator = chain(Clock(), broken=broken, last=answers("last"))
    for _ in range(FAILURES + 1):  # and is no worse for what is not JSON
        assert await collect(generator) == ("I am last.", ("generate: no JSON",))


async def test_what_an_engine_left_out_itself_is_kept() -> None:
    left = Scripted(Delta(text="Yes.", degraded=("passages: 1",)))
    generator = chain(Clock(), big=Scripted(error=UpstreamError("away")), small=left)
    assert await collect(generator) == ("Yes.", ("generate: away", "passages: 1"))


async def test_what_the_last_cannot_take_is_the_failure_of_the_one_that_could() -> None:
    clock = Clock()
    last = Scripted(error=InputError("no JSON here"))
    generator = chain(clock, big=Scripted(error=UpstreamError("big is away.")), last=last)
    with pytest.raises(UpstreamError, match=r"big is away\."):
        await collect(generator)
    for _ in range(FAILURES):
        with pytest.raises(UpstreamError):
            await collect(generator)
    with pytest.raises(UpstreamError, match="big is left alone"):
        await collect(generator)
    generator = chain(clock, big=Scripted(error=InputError("too long")), last=last)
    with pytest.raises(InputError, match="too long"):
        await collect(generator)


async def test_a_failure_amid_the_text_is_the_answer_s() -> None:
    small = answers("small")
    broken = Scripted(Delta(text="I am", model="big"), error=UpstreamError("It broke."))
    stream = chain(Clock(), big=broken, small=small).stream(PROMPT)
    assert (await anext(stream)).text == "I am"
    with pytest.raises(UpstreamError, match="It broke"):
        await anext(stream)
    assert small.asked == 0


async def test_where_all_fail_the_last_one_s_error_is_told() -> None:
    generator = chain(
        Clock(), big=Scripted(error=BusyError("full")), small=Scripted(error=UpstreamError("dead"))
    )
    with pytest.raises(UpstreamError, match="dead"):
        await collect(generator)


async def test_other_errors_are_not_hidden() -> None:
    small = answers("small")

    class Bug(Scripted):
        async def stream(self, prompt: Prompt) -> AsyncGenerator[Delta, None]:
            raise ValueError("a bug")
            yield Delta()

    with pytest.raises(ValueError, match="a bug"):
        await collect(chain(Clock(), big=Bug(), small=small))
    assert small.asked == 0


async def test_a_dead_engine_is_left_alone_for_a_while_then_tried_once() -> None:
    clock, big = Clock(), Scripted(error=UpstreamError("dead"))
    generator = chain(clock, big=big, small=answers("small"))
    for _ in range(FAILURES + 3):
        text, degraded = await collect(generator)
        assert text == "I am small."
        assert len(degraded) == 1
    assert big.asked == FAILURES
    assert degraded == ("generate: big is left alone, having failed repeatedly",)
    clock.now += PAUSE_SECONDS
    for _ in range(3):
        await collect(generator)
    assert big.asked == FAILURES + 1
    clock.now += PAUSE_SECONDS
    big.error, big.deltas = None, answers("big").deltas
    for _ in range(3):
        assert await collect(generator) == ("I am big.", ())


class Looked:
    """A health check of a server that returns these results in order, then the last one forever."""

    def __init__(self, *seen: bool) -> None:
        self.seen = list(seen)
        self.enough = asyncio.Event()

    async def __call__(self) -> bool:
        if len(self.seen) == 1:
            self.enough.set()
        return self.seen.pop(0) if len(self.seen) > 1 else self.seen[0]


async def left_alone(big: Scripted, looked: Looked) -> FallbackGenerator:
    """Returns a chain whose first engine has just failed too often; its pause never expires."""
    first = Engine(name="big", generator=big, breaker=Breaker(Clock()), answers=looked)
    generator = FallbackGenerator([first, Engine(name="l", generator=answers("l"))], seconds=30)
    for _ in range(FAILURES):
        await collect(generator)
    assert "is left alone" in (await collect(generator))[1][0]
    big.error, big.deltas = None, answers("big").deltas
    await looked.enough.wait()
    await asyncio.sleep(0.05)
    return generator


@pytest.fixture
def _quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fallback, "PROBE_SECONDS", 0.001)


@pytest.mark.usefixtures("_quick_looks")
async def test_an_engine_whose_server_was_away_is_tried_as_it_returns() -> None:
    generator = await left_alone(Scripted(error=UpstreamError("dead")), Looked(False, False, True))
    assert await collect(generator) == ("I am big.", ())
    await generator.close()


@pytest.mark.usefixtures("_quick_looks")
async def test_an_engine_whose_server_is_there_and_fails_has_its_pause() -> None:
    generator = await left_alone(Scripted(error=UpstreamError("broken")), Looked(True))
    assert "is left alone" in (await collect(generator))[1][0]
    before = asyncio.all_tasks()
    await generator.close()
    assert len(before - asyncio.all_tasks()) == 1  # it looks no more


async def test_a_server_is_there_where_it_says_anything_itself() -> None:
    with model_server(refuses(401)) as server:  # which knows no GET
        probe = Probe(server.base_url, api_key="k")
        assert await probe.answers()
    assert not await probe.answers()
    await probe.close()


async def test_failures_amid_text_open_the_circuit_too() -> None:
    broken = Scripted(Delta(text="I", model="big"), error=UpstreamError("It broke."))
    generator = chain(Clock(), big=broken, small=answers("small"))
    for _ in range(FAILURES):
        with pytest.raises(UpstreamError):
            await collect(generator)
    assert (await collect(generator))[0] == "I am small."


@pytest.mark.parametrize("error", [BusyError("full"), InputError("too long")])
async def test_an_engine_that_is_busy_or_cannot_take_the_prompt_is_asked_again(
    error: RagError,
) -> None:
    big = Scripted(error=error)
    generator = chain(Clock(), big=big, small=answers("small"))
    for _ in range(FAILURES + 3):
        await collect(generator)
    assert big.asked == FAILURES + 3


async def test_abstaining_says_nothing_of_the_engine() -> None:
    big = Scripted(error=UpstreamError("dead"))
    generator = chain(Clock(), big=big, small=answers("small"))
    for _ in range(FAILURES - 1):
        await collect(generator)
    big.error, big.deltas = None, (Delta(confidence=0.0, abstained="no_match"),)
    await collect(generator)
    big.error, big.deltas = UpstreamError("dead"), ()
    await collect(generator)
    asked = big.asked
    await collect(generator)
    assert big.asked == asked, "its failures were forgotten"


async def test_closing_closes_the_engine_that_answers() -> None:
    big = answers("big")
    stream = chain(Clock(), big=big, small=answers("small")).stream(PROMPT)
    await anext(stream)
    assert big.closed == 0
    await stream.aclose()
    assert big.closed == 1


async def test_a_caller_that_leaves_counts_for_nothing() -> None:
    class Hanging(Scripted):
        async def stream(self, prompt: Prompt) -> AsyncGenerator[Delta, None]:
            self.asked += 1
            await asyncio.sleep(600)
            yield Delta()

    big = Hanging()
    generator = chain(Clock(), big=big, small=answers("small"))
    for _ in range(FAILURES + 1):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await collect(generator)
    assert big.asked == FAILURES + 1
