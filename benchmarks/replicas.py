"""Replicas of a model's server: what a choice costs, and what it brings.

1. Decisions over 100 replicas in this process, whose requests begin and end as they would at 10,000
   a second, each with the choice, its key and the bookkeeping. No server is asked.
2. Keys that move from three replicas to a fourth; the floor is a quarter.
3. Four servers that only sleep, in a process of their own. One of them is ten times as slow. The
   floor is the same without it, all four as fast as the others, by turns.
4. Two of vLLM's own servers on the CPU, each with a Llama of random weights: the share of prompt
   tokens that their prefix caches had. A third of the questions by affinity, one by turns (round
   robin), and one to a single server, each over passages of its own; the floor is the single one.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import uvloop

from benchmarks._common import EXAMPLES, Report, Target, percentile
from benchmarks._texts import questions, words
from benchmarks._writing import PASSAGE_WORDS, RULES, make_prompt
from generation.replicas.engine_metrics import read_engine_metrics
from generation.replicas.outliers import Sent
from generation.replicas.pool import Pool
from generation.replicas.prefix import prefix_key
from generation.replicas.ring import Ring
from rag.protocols import ChatModel
from rag.types import Message, Sampling
from tests.replicas import replicated
from tests.tiny_llama import make_tiny_llama
from tests.vllm_servers import MISSING, vllm_servers

REPLICAS, DECISIONS, RATE = 100, 100_000, 10_000
ANSWER_SECONDS = 2.0
"""Time of an answer, of which at the rate 20,000 are under way."""
KEYS = 20_000
FAST, SLOW = 0.2, 2.0
"""Seconds to the first token of servers that sleep."""
CLIENTS, REQUESTS, ROUNDS = 8, 1500, 2
TOPICS, ASKED = 12, 6
"""Sets of passages, and questions over each."""
AT_ONCE = 4
PATIENCE = 60.0


def run() -> Report:
    """Measures the four parts in order."""
    report = Report()
    _decide(report)
    _move(report)
    uvloop.run(_slow(report))
    if MISSING is None:
        uvloop.run(_prefixes(report))
    else:
        report.notes.append(f"two engines: skipped, {MISSING} is not installed (docs/replicas.md)")
    return report


def _decide(report: Report) -> None:
    pool = Pool([f"http://engine-{number}:8000/v1" for number in range(REPLICAS)])
    text = " ".join(words())
    prompts = [make_prompt(RULES, text[n * 200 : n * 200 + 4000], "Why?") for n in range(500)]
    chance, under_way, taken = random.Random(0), deque[tuple[Sent, float]](), list[float]()
    cpu = time.process_time()
    for _ in range(DECISIONS):
        prompt, tokens = chance.choice(prompts), chance.uniform(500, 2500)
        started = time.perf_counter()
        choice = pool.choose(prefix_key(prompt), tokens)
        assert choice is not None
        sent = pool.begin(choice.replica, tokens)
        pool.slow_after(choice.replica)
        if len(under_way) >= RATE * ANSWER_SECONDS:
            earlier, its_tokens = under_way.popleft()
            pool.first_token(earlier, 0.1)
            pool.succeeded(earlier)
            pool.end(earlier.replica, its_tokens)
        taken.append((time.perf_counter() - started) * 1e6)
        under_way.append((sent, tokens))
    cpu = time.process_time() - cpu
    bound = Target(bound=200)
    report.add("decision p50, 100 replicas", percentile(taken, 50), unit="µs", target=bound)
    report.add("decision p99, 100 replicas", percentile(taken, 99), unit="µs", target=bound)
    report.add(
        "decisions in a second of CPU time",
        DECISIONS / cpu,
        unit="/s",
        target=Target(bound=RATE, at_least=True),
    )
    loads = [pool.load(replica) for replica in range(REPLICAS)]
    report.add("greatest load by the mean", max(loads) / (sum(loads) / REPLICAS))


def _move(report: Report) -> None:
    names = [f"http://engine-{number}:8000/v1" for number in range(4)]
    before, after = Ring(names[:3]), Ring(names)
    keys = [f"key {number}".encode() for number in range(KEYS)]
    moved = [next(before.walk(key)) != next(after.walk(key)) for key in keys]
    report.add("keys moved, 3 to 4 replicas", sum(moved) / KEYS, floor=0.25)


@contextmanager
def _engines(*seconds: float) -> Iterator[list[str]]:
    command = [sys.executable, "-m", "benchmarks._fake_engines", *map(str, seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().split() if process.stdout else []
        finally:
            process.terminate()


async def _slow(report: Report) -> None:
    taken: dict[str, list[float]] = {"slow": [], "fast": [], "hedged": []}
    for number in range(ROUNDS):
        for name in sorted(taken, reverse=bool(number % 2)):
            times = [FAST] * 3 + [FAST if name == "fast" else SLOW]
            with _engines(*times) as urls:
                async with replicated(urls, hedge=name == "hedged") as (model, _):
                    taken[name] += await _load(model)
    for name, title in (("slow", "one slow replica"), ("hedged", "one slow replica, hedged")):
        report.add(
            f"p99, {title}",
            percentile(taken[name], 99) * 1e3,
            unit="ms",
            floor=percentile(taken["fast"], 99) * 1e3,
            target=Target(bound=1.3, by="ratio"),
        )
        slow = sum(each >= SLOW * 0.8 for each in taken[name])
        report.notes.append(f"{title}: {slow} of {len(taken[name]):,} answers took its time")


async def _load(model: ChatModel) -> list[float]:
    """Seconds of each of `REQUESTS` answers, `CLIENTS` at a time."""
    taken: list[float] = []
    numbers = iter(range(REQUESTS))
    text = words()

    async def client() -> None:
        for number in numbers:
            passage = " ".join(text[number % 97 * 50 :][:PASSAGE_WORDS])
            prompt = make_prompt(RULES, passage, f"Why {number}?")
            started = time.perf_counter()
            await _ask(model, prompt)
            taken.append(time.perf_counter() - started)

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return taken


async def _ask(model: ChatModel, prompt: Sequence[Message]) -> None:
    async for _ in model.stream(prompt, sampling=Sampling(max_tokens=8)):
        pass


async def _prefixes(report: Report) -> None:
    with tempfile.TemporaryDirectory(prefix="plumbline-bench-") as folder:
        llama = make_tiny_llama(
            Path(folder) / "llama",
            hidden=256,
            layers=4,
            context=4096,
            vocabulary=4096,
            texts=[file.read_text("utf-8") for file in sorted(EXAMPLES.glob("*.rst"))],
        )
        log = Path(folder) / "log"
        with vllm_servers(llama, 2, log=log, dtype="bfloat16", kv_cache_bytes=256 << 20) as urls:
            await _compare(report, urls)


async def _compare(report: Report, urls: Sequence[str]) -> None:
    passages = _passages()
    async with (
        replicated(urls) as (by_key, _),
        replicated(urls[:1]) as (single, _),
        replicated(urls[1:]) as (other, _),
    ):
        turns = itertools.cycle((single, other))
        affinity = await _hits(urls, lambda: by_key, passages)
        one = await _hits(urls, lambda: single, passages)
        round_robin = await _hits(urls, lambda: next(turns), passages)
    target = Target(bound=0.9, by="ratio", at_least=True)
    report.add("prefix cache, by affinity", affinity, floor=one, target=target)
    report.add("prefix cache, round robin", round_robin, floor=one)
    report.notes.append(
        f"prefix cache: {TOPICS} sets of passages in random order, {ASKED} questions over each,"
        f" {AT_ONCE} at a time"
    )


def _passages() -> Iterator[str]:
    """Sets of passages, no two alike."""
    text = words()
    for number in itertools.count():
        start = number * 37 % (len(text) - PASSAGE_WORDS)
        yield f"{number} " + " ".join(text[start : start + PASSAGE_WORDS])


async def _hits(
    urls: Sequence[str], model: Callable[[], ChatModel], passages: Iterator[str]
) -> float:
    """Returns the share of prompt tokens that the caches had, of questions over new passages."""
    topics = list(itertools.islice(passages, TOPICS))
    asked = [
        make_prompt(RULES, topic, question)
        for topic, question in zip(topics * ASKED, questions(TOPICS * ASKED), strict=True)
    ]
    random.Random(0).shuffle(asked)
    waiting = iter(asked)
    before = await _cache(urls)

    async def client() -> None:
        for prompt in waiting:
            await _ask(model(), prompt)

    await asyncio.gather(*(client() for _ in range(AT_ONCE)))
    hits, queries = (now - was for now, was in zip(await _cache(urls), before, strict=True))
    return hits / queries


async def _cache(urls: Sequence[str]) -> tuple[float, float]:
    """Returns the prompt tokens that the servers' caches had, and those looked up in them."""
    async with httpx.AsyncClient(timeout=PATIENCE) as http:
        pages = [await http.get(url.removesuffix("/v1") + "/metrics") for url in urls]
    states = [state for page in pages if (state := read_engine_metrics(page.text))]
    return sum(each.prefix_hits for each in states), sum(each.prefix_queries for each in states)
