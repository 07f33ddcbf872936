"""Expands a question to further texts to search for, which find documents in other words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from generation.query.short_completion import SECONDS, write
from rag.protocols import ChatModel
from rag.telemetry.trace import Trace
from rag.types import Message, Usage

Method = Literal["multi_query", "hyde"]
QUERIES = 3
MAX_TOKENS = 256
SYSTEM: dict[Method, str] = {
    "multi_query": f"""\
You write search queries. You are given a question; you do not answer it.

- Write {QUERIES} other questions, or groups of keywords, that would find documents which answer it.
- Use other words than the question does. Keep its language, its names and its numbers.
- Write each on a line of its own, and nothing else.""",
    "hyde": """\
You write a passage as it could stand in a document that answers the question you are given.

- Write two to four sentences, in the language of the question.
- Where you do not know a fact, leave it out. The passage is only searched with; nobody reads it.
- Write the passage, and nothing else.""",
}
_ENUMERATOR = re.compile(r"^\s*(?:[-*•]|\(?\d{1,2}[.):])\s+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Expansion:
    """Further texts to search for; `usage` and `degraded` as in `Answer`."""

    texts: tuple[str, ...]
    usage: Usage
    degraded: tuple[str, ...] = ()


class QuestionExpander:
    """Has a language model write further texts to search for besides a question.

    `multi_query`: the question in other words, each with a ranking of its own (RAG-Fusion,
    Rackauckas 2024, https://arxiv.org/abs/2402.03367). `hyde`: a passage that could answer it,
    whose neighbours are searched (Gao et al. 2022, https://arxiv.org/abs/2212.10496).
    """

    def __init__(self, model: ChatModel, *, method: Method, seconds: float = SECONDS) -> None:
        """Make an expander; `seconds` limits each expansion."""
        self._model = model
        self._method = method
        self._seconds = seconds

    async def expand(self, question: str, trace: Trace) -> Expansion:
        """Returns more texts to search for; none if the model fails, and `degraded` says so."""
        messages = (
            Message(role="system", content=SYSTEM[self._method]),
            Message(role="user", content=f"Question: {question}"),
        )
        with trace.span("expand", "generation") as span:
            written = await write(
                self._model,
                messages,
                trace,
                span,
                template=f"{self._method}.v1",  # increases with each change
                max_tokens=MAX_TOKENS,
                seconds=self._seconds,
            )
            if written.error:
                degraded = (trace.degrade("expand", written.error),)
                return Expansion(texts=(), usage=written.usage, degraded=degraded)
        return Expansion(texts=self._texts(written.text, question), usage=written.usage)

    def _texts(self, written: str, question: str) -> tuple[str, ...]:
        if self._method == "hyde":
            return (" ".join(written.split()),)
        return _queries(written, question)


def _queries(text: str, question: str) -> tuple[str, ...]:
    """Returns the lines, without their enumeration, except the question itself."""
    lines = (" ".join(_ENUMERATOR.sub("", line).split()) for line in text.splitlines())
    return tuple(dict.fromkeys(line for line in lines if line and line != question))[:QUERIES]
