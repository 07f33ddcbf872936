"""One run of the synthetic canary: the way of a document from its upload to its deletion.

It calls the public API alone, as a user does.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from rag.client import Answer, AsyncClient, NotFoundError, PlumblineError
from rag.operations.synthetic.phrase import Phrase, age_of, new_phrase

COLLECTION = "synthetic"
RUN_SECONDS = 60.0
"""Longest time of a run; what is older was left by a run that was killed."""
_TOP_K = 10


class UnmetError(Exception):
    """The service answered, and not as it should."""


@dataclass(slots=True)
class Report:
    """The result of a run: `failure` is empty if all was well, and has no full stop at its end.

    `steps` has the seconds of each step; the one that failed is the last.
    """

    failure: str = ""
    steps: dict[str, float] = field(default_factory=dict)

    @property
    def succeeded(self) -> bool:
        """True if every step did."""
        return not self.failure

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Times a step in a block."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.steps[name] = round(time.perf_counter() - began, 4)


async def run(client: AsyncClient, *, tenant: str, seconds: float = RUN_SECONDS) -> Report:
    """Ingests a phrase, asks about it, deletes it, and looks whether anything remains.

    Args:
        client: has a key of the tenant, with the scopes ask, read and write.
        tenant: the canary's own. A key of another tenant is refused before anything is sent.
        seconds: after which the run has failed.
    """
    report = Report()
    try:
        async with asyncio.timeout(seconds):
            await _steps(client, tenant, report)
    except TimeoutError:
        report.failure = f"{_last(report)}: it took more than {seconds:g} s"
    except (PlumblineError, UnmetError) as error:
        report.failure = f"{_last(report)}: {str(error).rstrip('.')}"
    return report


def _last(report: Report) -> str:
    return next(reversed(report.steps), "start")


async def _steps(client: AsyncClient, tenant: str, report: Report) -> None:
    phrase = new_phrase()
    with report.step("clean"):
        await _check_tenant(client, tenant)
        await _remove_older(client)
    with report.step("ingest"):
        await _ingest(client, phrase)
    with report.step("search"):
        if phrase.id not in await _found(client, phrase):
            raise UnmetError("the document is not found")
    with report.step("ask"):
        await _check_answer(client, phrase)
    with report.step("delete"):
        await client.delete_document(phrase.id, collection=COLLECTION)
    with report.step("gone"):
        await _check_gone(client, phrase)


async def _check_tenant(client: AsyncClient, tenant: str) -> None:
    me = await client.get_me()
    if me.tenant != tenant:
        raise UnmetError(
            f"the key is of the tenant {me.tenant!r}, and the canary has its own, {tenant!r}:"
            f" `rag keys create synthetic --tenant {tenant} --scopes ask,read,write` makes a key"
        )


async def _remove_older(client: AsyncClient) -> None:
    """Removes what runs left that were killed, or that failed."""
    with contextlib.suppress(NotFoundError):  # before the first run there is no collection
        async for document in client.all_documents(collection=COLLECTION):
            age = age_of(document.id)
            if age is not None and age > RUN_SECONDS:
                await client.delete_document(document.id, collection=COLLECTION)


async def _ingest(client: AsyncClient, phrase: Phrase) -> None:
    sent = await client.submit_documents(
        [{"id": phrase.id, "text": phrase.text}], collection=COLLECTION
    )
    job = await sent.wait()
    if job.state != "succeeded":
        reasons = "; ".join(failure["error"] for failure in job.failures)
        raise UnmetError(f"the document is {job.state}: {reasons or job.error}")


async def _found(client: AsyncClient, phrase: Phrase) -> set[str]:
    result = await client.search(phrase.text, collection=COLLECTION, top_k=_TOP_K)
    return {hit.document_id for hit in result.hits}


async def _ask(client: AsyncClient, phrase: Phrase) -> Answer:
    return await client.ask(phrase.question, collection=COLLECTION)


async def _check_answer(client: AsyncClient, phrase: Phrase) -> None:
    """Checks that the answer cites the phrase, and that the quote is where the citation says."""
    answer = await _ask(client, phrase)
    if answer.abstained:
        raise UnmetError(f"the question is declined: {answer.reason}")
    content = await client.get_content(phrase.id, collection=COLLECTION, as_="text")
    for citation in answer.citations:
        quoted = content.text[citation.start : citation.end]
        if citation.document_id == phrase.id and phrase.answer in citation.quote == quoted:
            return
    raise UnmetError("no citation of the answer quotes the document")


async def _check_gone(client: AsyncClient, phrase: Phrase) -> None:
    """Checks that neither catalog nor index nor an earlier answer has the phrase."""
    if phrase.id in await _found(client, phrase):
        raise UnmetError("the search finds the deleted document")
    answer = await _ask(client, phrase)
    cited = {citation.document_id for citation in answer.citations}
    if phrase.answer in answer.answer or phrase.id in cited:
        of = "the answer cache" if answer.cached else "the service"
        raise UnmetError(f"{of} still answers from the deleted document")
    listed = client.all_documents(collection=COLLECTION)
    if phrase.id in {document.id async for document in listed}:
        raise UnmetError("the deleted document is listed")
    for call in (client.get_document, client.list_chunks):
        with contextlib.suppress(NotFoundError):
            await call(phrase.id, collection=COLLECTION)
            raise UnmetError("the deleted document can be read")
