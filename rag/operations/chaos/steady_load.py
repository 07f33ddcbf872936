"""A steady load of questions and documents, and what became of each."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal

from rag.client import Answer, AsyncClient, NewDocument, PlumblineError
from rag.operations.synthetic.phrase import Phrase, new_phrase
from rag.process.background import running

Phase = Literal["before", "during", "after"]
Outcome = Literal["right", "wrong", "failed"]
COLLECTION = "chaos"
KNOWN = 8
"""Documents that are there from the beginning, which the questions are about."""
QUESTION_SECONDS = 0.5
"""Seconds from one question to the next."""
SEND_SECONDS = 2.0
SENT_TOGETHER = 5
"""Documents of a request: few enough to be taken before bulk."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A request of the load.

    Attributes:
        kind: a question, or documents that were sent.
        phase: `during`, if it was under way while the fault was there, or when it began.
        seconds: to the whole response.
        outcome: a question is wrong if its answer does not cite its document.
        error: the code of the error; empty without one.
        window: of the phase, in which it began, from 0.
    """

    kind: Literal["question", "documents"]
    phase: Phase
    seconds: float
    outcome: Outcome
    error: str = ""
    window: int = 0


@dataclass(slots=True)
class Load:
    """Asks and sends at a steady pace, however long the service takes for it.

    Attributes:
        client: does not try again: each failure of a request counts.
        phase: of the experiment; whoever runs it sets this.
        window: of the phase; the last phase has several, until the service is as quick as before.
        asking: questions under way.
        accepted: documents that the service has accepted, by id.
        unsure: ids of those of requests that failed, which may have been accepted.
        jobs: the jobs of the accepted documents.
    """

    client: AsyncClient
    phase: Phase = "before"
    window: int = 0
    asking: int = 0
    samples: list[Sample] = field(default_factory=list)
    accepted: dict[str, Phrase] = field(default_factory=dict)
    unsure: set[str] = field(default_factory=set)
    jobs: list[str] = field(default_factory=list)
    _known: list[Phrase] = field(default_factory=list)

    async def prepare(self) -> None:
        """Stores the documents that the questions are about, and asks each of them once."""
        self._known = [new_phrase() for _ in range(KNOWN)]
        sent = await self._submit(self._known)
        await self.client.wait_for_job(sent)
        asked = (self.client.ask(each.question, collection=COLLECTION) for each in self._known)
        await asyncio.gather(*asked)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Runs the load in the block; requests under way at its end are waited for."""
        async with asyncio.TaskGroup() as requests:
            questions = _every(QUESTION_SECONDS, requests, self._ask)
            documents = _every(SEND_SECONDS, requests, self._send)
            async with running(questions, documents):
                yield

    async def _ask(self, n: int) -> None:
        phrase = self._known[n % KNOWN]

        async def ask() -> Outcome:
            answer = await self.client.ask(phrase.question, collection=COLLECTION)
            return "right" if _cites(answer, phrase) else "wrong"

        self.asking += 1
        try:
            await self._sample("question", ask)
        finally:
            self.asking -= 1

    async def _send(self, _: int) -> None:
        phrases = [new_phrase() for _ in range(SENT_TOGETHER)]

        async def send() -> Outcome:
            self.unsure |= {phrase.id for phrase in phrases}
            await self._submit(phrases)
            self.unsure -= {phrase.id for phrase in phrases}
            return "right"

        await self._sample("documents", send)

    async def _submit(self, phrases: list[Phrase]) -> str:
        documents: list[NewDocument] = [
            {"id": phrase.id, "text": phrase.text} for phrase in phrases
        ]
        sent = await self.client.submit_documents(documents, collection=COLLECTION)
        self.accepted |= {phrase.id: phrase for phrase in phrases}
        self.jobs.append(sent.id)
        return sent.id

    async def _sample(
        self, kind: Literal["question", "documents"], work: Callable[[], Awaitable[Outcome]]
    ) -> None:
        began, phase, window, error = time.perf_counter(), self.phase, self.window, ""
        outcome: Outcome = "failed"
        try:
            outcome = await work()
        except PlumblineError as failure:
            error = failure.code
        if self.phase == "during":
            phase = "during"
        took = time.perf_counter() - began
        self.samples.append(Sample(kind, phase, took, outcome, error, window))


async def _every(
    seconds: float, requests: asyncio.TaskGroup, work: Callable[[int], Awaitable[None]]
) -> None:
    n, loop = 0, asyncio.get_running_loop()
    begun = loop.time()
    while True:
        requests.create_task(_run(work, n))
        n += 1
        await asyncio.sleep(begun + n * seconds - loop.time())


async def _run(work: Callable[[int], Awaitable[None]], n: int) -> None:
    await work(n)


def _cites(answer: Answer, phrase: Phrase) -> bool:
    return any(
        citation.document_id == phrase.id and phrase.answer in citation.quote
        for citation in answer.citations
    )
