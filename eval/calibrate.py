"""Fits the confidence of extractive answers, and measures how far it can be trusted.

    python -m eval.calibrate [--data DIR] [--out FILE] [--docs DIR]

Every second article's questions are fitted on, thresholds chosen with them; all figures are
measured with the other articles' questions.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from eval.asking import Asked, Asker, open_asker
from eval.confidence import Floats, Judged, Logistic, auroc, calibration_error, fit_logistic
from eval.corpus import Corpus, Question, read_corpus
from generation.calibration import CALIBRATION
from generation.evidence import MAX_SENTENCES, Features
from rag.types import Scope

DATASET = "squad2-dev-a"
NAMES = [field.name for field in fields(Features)]
KEPT = 0.97
"""The rule for the threshold: of the fitted questions whose article is in the collection, it
answers this share. What it declines besides is then measured, not chosen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cases:
    """Questions about some articles, asked of three collections: both halves and the whole.

    Attributes:
        inside: answerable, asked of the half that has the article.
        outside: the same ones, asked of the half that has it not.
        adversarial: unanswerable, though written to look answerable by a paragraph of the whole.
        whole: the answerable ones asked of the whole.
    """

    inside: list[Asked]
    outside: list[Asked]
    adversarial: list[Asked]
    whole: list[Asked]


def main(argv: Sequence[str] | None = None) -> int:
    """Calibrates, writes the record and the pictures; without data it says so and does nothing."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m eval.calibrate")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=CALIBRATION)
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="folder of the pictures")
    options = parser.parse_args(argv)
    folder = options.data / DATASET
    if not folder.is_dir():
        sys.stdout.write(f"Skipped: {folder} is missing. Name the folder of test sets in --data.\n")
        return 0
    record, judged = asyncio.run(calibrate(read_corpus(folder)))
    text = json.dumps(record, indent=2) + "\n"
    options.out.write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    from eval.pictures import draw_reliability, draw_risk_coverage

    draw_risk_coverage(options.docs / "risk-coverage.png", judged, record["threshold"])
    draw_reliability(options.docs / "reliability.png", judged)
    return 0


async def calibrate(corpus: Corpus) -> tuple[dict[str, Any], Judged]:
    """What goes into calibration.json, and the answers its figures were measured on.

    1. ask  2. fit on half the articles  3. choose the threshold with them  4. measure on the rest
    """
    articles = sorted({p.meta["article"] for p in corpus.passages})
    first, second = articles[::2], articles[1::2]
    # What is searched has articles of both kinds: nothing is learnt from a passage alone.
    parts = {
        "one half": {*first[::2], *second[::2]},
        "other half": {*first[1::2], *second[1::2]},
        "whole": set(articles),
    }
    async with open_asker() as asker:  # 1.
        scopes = {
            name: await asker.index(
                name, [p for p in corpus.passages if p.meta["article"] in inside]
            )
            for name, inside in parts.items()
        }
        fitted, rest = [await _ask(asker, corpus, a) for a in (first, second)]
