"""Hits of a collection in which each document has edited copies, beside those without them.

The articles of squad2-dev-a, a document each with all of its paragraphs, alone and with two copies
that each have one more paragraph. For the answerable questions: how many of five hits say
something of their own, and whether one of them has a gold answer. The floor is the collection
without copies.

    python -m benchmarks.run copies
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence

from benchmarks._common import Report, ingest, temporary_service
from benchmarks._rankings import corpus_of, submission
from eval.datasets.corpus import Corpus
from rag.build.service import Service
from rag.telemetry.trace import Trace
from rag.types import Hit, Query, Scope

SET = "squad2-dev-a"
COPIES = 2
TOP_K = 5
ASKED = 300
"""Questions, evenly taken: a share's standard error is at most 2 points there."""


def run() -> Report:
    """Both collections, with the default's settings."""
    return asyncio.run(_measured(corpus_of(SET)))


async def _measured(corpus: Corpus) -> Report:
    report = Report()
    articles = _articles(corpus)
    async with temporary_service() as (service, queue):
        found = []
        for name, copies in (("alone", 0), ("copied", COPIES)):
            submissions = [
                submission(service, f"{title} {number}", title, _text(paragraphs, number))
                for title, paragraphs in articles.items()
                for number in range(1 + copies)
            ]
            scope = await ingest(service, queue, submissions, collection=name)
            found.append(await _ask(service, scope, corpus))
    (alone_own, alone_right), (own, right) = found
    report.add(f"of {TOP_K} hits say their own", own, floor=alone_own)
    report.add(f"an answer among {TOP_K} hits", right, floor=alone_right)
    return report


def _articles(corpus: Corpus) -> Mapping[str, Sequence[str]]:
    articles: dict[str, list[str]] = defaultdict(list)
    for passage in corpus.passages:
        articles[passage.title].append(passage.text)
    return articles


def _text(paragraphs: Sequence[str], number: int) -> str:
    """Returns an article, or an edited copy of it: with a paragraph of its own at the end."""
    edit = [f"This is revision {number} of the page; its editors are listed elsewhere."] * number
    return "\n\n".join([*paragraphs, *edit[:1]])


async def _ask(service: Service, scope: Scope, corpus: Corpus) -> tuple[float, float]:
    """Returns the mean number of different hits, and the share of questions with an answer."""
    answerable = [question for question in corpus.questions if question.answers]
    asked = answerable[:: len(answerable) // ASKED][:ASKED]
    own = right = 0
    for question in asked:
        query = Query(text=question.text, scope=scope, top_k=TOP_K)
        hits = (await service.retriever.retrieve(query, Trace())).hits
        own += len({hit.chunk.text for hit in hits})
        right += _has_answer(hits, question.answers)
    return own / len(asked), right / len(asked)


def _has_answer(hits: Sequence[Hit], answers: Sequence[str]) -> bool:
    texts = [hit.chunk.text.lower() for hit in hits]
    return any(answer.lower() in text for text in texts for answer in answers)
