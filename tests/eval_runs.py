"""Invented runs of a small set, written as `rag eval run` writes them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from eval.runs.run_folder import Cited, Found, Outcome, RunFolder, RunInfo

LANGUAGES = ("de", "en", "zh")
TYPES = ("fact", "reason")
INFO = RunInfo(
    set_name="otters",
    set_fingerprint="5e7",
    questions=0,
    config={"retrieval": {"depth": 100, "top_k": 10}, "generator": {"kind": "extractive"}},
    version="0.1.0",
    started="2026-01-01T12:00:00+00:00",
)


def write_run(folder: Path, outcomes: Iterable[Outcome], **info: Any) -> Path:
    """Writes a finished run and returns its folder."""
    made = list(outcomes)
    with RunFolder(folder, replace(INFO, questions=len(made), **info)) as run:
        for outcome in made:
            run.append(outcome)
        run.finish({}, "", finished="2026-01-01T12:05:00+00:00")
    return folder


def outcome(name: str, **fields: Any) -> Outcome:
    """Returns the outcome of an answered question; `fields` override the defaults."""
    usual: dict[str, Any] = {
        "question": f"What of {name}?",
        "slices": {"lang": "en"},
        "hits": hits("a", "b"),
        "answer": f"It is {name}.",
        "confidence": 0.9,
        "timings": {"search": 10.0, "generate": 30.0},
        "seconds": 0.05,
        "measures": {"RR": 1.0, "f1": 0.8},
    }
    return Outcome(id=name, **usual | fields)


def hits(*chunks: str) -> tuple[Found, ...]:
    """Passages, best first."""
    return tuple(
        Found(chunk_id=chunk, document_id=f"of {chunk}", start=0, end=9, score=1 / rank)
        for rank, chunk in enumerate(chunks, 1)
    )


def seeded(
    seed: int, n: int = 240, *, f1: float = 0.0, slower: float = 1.0, cost: float = 0.0
) -> list[Outcome]:
    """Returns outcomes of `n` questions, equally hard for every seed apart from a little noise.

    Args:
        seed: of the noise.
        n: how many questions.
        f1: what is added to every token F1.
        slower: what times are multiplied by.
        cost: of each question.
    """
    hard, noise = np.random.default_rng(1), np.random.default_rng(seed)
    return [_seeded(i, hard, noise, f1=f1, slower=slower, cost=cost) for i in range(n)]


def _seeded(
    i: int,
    hard: np.random.Generator,
    noise: np.random.Generator,
    *,
    f1: float,
    slower: float,
    cost: float,
) -> Outcome:
    easy = float(hard.beta(3, 1.5))
    luck = float(np.clip(easy + noise.normal(0, 0.08), 0, 1))
    rank = int(1 / max(luck, 0.05))
    score = round(float(np.clip(luck + noise.normal(0, 0.05) + f1, 0, 1)), 3)
    declined = luck < 0.3
    times = {
        "search": slower * 20 * float(noise.lognormal(0, 0.3)),
        "rerank": slower * 45 * float(noise.lognormal(0, 0.2)),
        "generate": slower * 90 * float(noise.lognormal(0, 0.5)),
    }
    measures = {
        "nDCG@10": 1 / float(np.log2(1 + rank)) if rank <= 10 else 0.0,
        "RR": 1 / rank if rank <= 10 else 0.0,
        "f1": 0.0 if declined else score,
        "citation_precision": 0.0 if declined else float(noise.random() < easy + 0.2),
    }
    return Outcome(
        id=f"q{i:03}",
        question=f"What do otters of river {i} do at night, and why?",
        slices={"lang": LANGUAGES[i % 3], "type": TYPES[i % 2]},
        hits=hits(*(f"{i}-{k}" if k != rank else f"{i}-gold" for k in range(1, 11))),
        answer="" if declined else f"They hold hands ({score}) so that they do not drift apart.",
        reason="weak_evidence" if declined else None,
        confidence=float(np.clip(luck + noise.normal(0, 0.1), 0, 1)),
        citations=() if declined else (Cited(document_id="d", start=0, end=9, support=0.9),),
        timings=times,
        seconds=sum(times.values()) / 1000,
        input_tokens=900,
        output_tokens=40,
        cost=cost,
        measures=measures,
    )
