"""The clients: one blocks, one is for asyncio. Both have the methods of `Endpoints`."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import httpx

from .call import Call, Page
from .endpoints import Endpoints
from .events import Event, reading
from .flow import Flow, Outcome, Pause, Retries, Send, answered, ended, result
from .questions import streamed
from .responses import Accepted, AcceptedDocument, Job
from .version import VERSION

T = TypeVar("T")
TIMEOUT_SECONDS = 120.0
"""Longest silence of the server, for which a question may wait in a queue."""
RETRIES = Retries()


def _settings(url: str, key: str | None, timeout: float) -> dict[str, Any]:
    """Returns the arguments of httpx' clients."""
    headers = {"User-Agent": f"plumbline-client/{VERSION}"}
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    # To load certificates takes 17 ms of CPU time. Without them, an https:// URL is refused.
    is_plain = url.startswith("http://")
    verify = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if is_plain else True
    return {"base_url": url, "headers": headers, "timeout": timeout, "verify": verify}


class Client(Endpoints):
    """A client for programs that wait for each call; its methods may be called from any thread.

    ```python
    with Client("http://127.0.0.1:8000") as client:
        print(client.ask("When does the office open?").citations[0].quote)
    ```
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        timeout: float = TIMEOUT_SECONDS,
        retries: Retries = RETRIES,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Makes a client of the server at `url`.

        Args:
            url: `http://…` or `https://…`.
            key: an API key or a token, if the server asks for one.
            timeout: seconds of silence after which a call fails.
            retries: limits on making calls again.
            transport: sends the requests; by default over the network.
        """
        self.http = httpx.Client(**_settings(url, key, timeout), transport=transport)
        """The client of httpx, for requests that have no method here."""
        self._retries = retries

    def call(self, call: Call[T]) -> T:
        """Makes a call; returns its result."""
        return self._run(result(call, self.http, self._retries))

    def items(self, call: Call[Page[T]]) -> Iterator[T]:
        """Yields what is on all pages of a listing."""
        while True:
            page = self.call(call)
            yield from page.items
            if page.next_cursor is None:
                return
            call = call.after(page.next_cursor)

    def submit(self, call: Call[Accepted]) -> Submitted:
        """Sends documents; returns the job that ingests them."""
        return Submitted(self, self.call(call))

    @contextlib.contextmanager
    def events(self, call: Call[Any]) -> Iterator[Iterator[Event]]:
        """Yields the events of a streamed answer; the end of the block ends the server's work."""
        response = self._run(answered(streamed(call), self.http, self._retries, stream=True))
        with contextlib.closing(response), contextlib.closing(_events(response)) as events:
            yield events

    def wait_for_job(
        self,
        job_id: str,
        *,
        timeout: float | None = None,
        on_progress: Callable[[Job], None] | None = None,
    ) -> Job:
        """Waits for a job to end, and returns it. `on_progress` gets it at each look.

        Raises:
            TimeoutError: It has not ended after `timeout` seconds.
        """
        return self._run(
            ended(job_id, self.http, self._retries, timeout=timeout, on_progress=on_progress)
        )

    def close(self) -> None:
        """Closes the connections."""
        self.http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _run(self, flow: Flow[T]) -> T:
        with contextlib.closing(flow):
            outcome: Outcome = None
            while True:
                try:
                    step = flow.send(outcome)
                except StopIteration as end:
                    return cast("T", end.value)
                outcome = self._do(step)

    def _do(self, step: Send | Pause) -> Outcome:
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            return None
        try:
            response = self.http.send(step.request, stream=step.stream)
            if not response.is_success:
                response.read()
        except httpx.RequestError as error:
            return error
        return response


def _events(response: httpx.Response) -> Generator[Event, None, None]:
    with reading(response) as reader:
        for piece in response.iter_bytes():
            yield from reader.read(piece)


class AsyncClient(Endpoints):
    """A client for asyncio. To cancel a task cancels its call, and ends the server's work on it.

    ```python
    async with AsyncClient("http://127.0.0.1:8000") as client:
        print((await client.ask("When does the office open?")).citations[0].quote)
    ```
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        timeout: float = TIMEOUT_SECONDS,
        retries: Retries = RETRIES,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Makes a client of the server at `url`; see `Client`."""
        self.http = httpx.AsyncClient(**_settings(url, key, timeout), transport=transport)
        """The client of httpx, for requests that have no method here."""
        self._retries = retries

    async def call(self, call: Call[T]) -> T:
        """Makes a call; returns its result."""
        return await self._run(result(call, self.http, self._retries))

    async def items(self, call: Call[Page[T]]) -> AsyncIterator[T]:
        """Yields what is on all pages of a listing."""
        while True:
            page = await self.call(call)
            for item in page.items:
                yield item
            if page.next_cursor is None:
                return
            call = call.after(page.next_cursor)

    async def submit(self, call: Call[Accepted]) -> AsyncSubmitted:
        """Sends documents; returns the job that ingests them."""
        return AsyncSubmitted(self, await self.call(call))

    @contextlib.asynccontextmanager
    async def events(self, call: Call[Any]) -> AsyncIterator[AsyncIterator[Event]]:
        """Yields the events of a streamed answer; the end of the block ends the server's work."""
        flow = answered(streamed(call), self.http, self._retries, stream=True)
        response = await self._run(flow)
        events = _async_events(response)
        async with contextlib.aclosing(response), contextlib.aclosing(events):
            yield events

    async def wait_for_job(
        self,
        job_id: str,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - as of `Client`
        on_progress: Callable[[Job], None] | None = None,
    ) -> Job:
        """Waits for a job to end, and returns it. `on_progress` gets it at each look.

        Raises:
            TimeoutError: It has not ended after `timeout` seconds.
        """
        return await self._run(
            ended(job_id, self.http, self._retries, timeout=timeout, on_progress=on_progress)
        )

    async def aclose(self) -> None:
        """Closes the connections."""
        await self.http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def _run(self, flow: Flow[T]) -> T:
        with contextlib.closing(flow):
            outcome: Outcome = None
            while True:
                try:
                    step = flow.send(outcome)
                except StopIteration as end:
                    return cast("T", end.value)
                outcome = await self._do(step)

    async def _do(self, step: Send | Pause) -> Outcome:
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            return None
        try:
            response = await self.http.send(step.request, stream=step.stream)
            if not response.is_success:
                await response.aread()
        except httpx.RequestError as error:
            return error
        return response


async def _async_events(response: httpx.Response) -> AsyncGenerator[Event, None]:
    with reading(response) as reader:
        async for piece in response.aiter_bytes():
            for event in reader.read(piece):
                yield event


class _Accepted:
    """Documents that were accepted.

    Attributes:
        id: the id of the job that ingests them.
        documents: their ids.
        notices: what the sender should know, such as a replacement.
    """

    def __init__(self, accepted: Accepted) -> None:
        self.id = accepted.job_id
        self.documents: list[AcceptedDocument] = accepted.documents
        self.notices = accepted.notices


class Submitted(_Accepted):
    """Documents that were accepted, and the job that ingests them."""

    def __init__(self, client: Client, accepted: Accepted) -> None:
        super().__init__(accepted)
        self._client = client

    def wait(
        self,
        *,
        timeout: float | None = None,
        on_progress: Callable[[Job], None] | None = None,
    ) -> Job:
        """Waits for the job to end; see `Client.wait_for_job`."""
        return self._client.wait_for_job(self.id, timeout=timeout, on_progress=on_progress)


class AsyncSubmitted(_Accepted):
    """Documents that were accepted, and the job that ingests them."""

    def __init__(self, client: AsyncClient, accepted: Accepted) -> None:
        super().__init__(accepted)
        self._client = client

    async def wait(
        self,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - as of `Client`
        on_progress: Callable[[Job], None] | None = None,
    ) -> Job:
        """Waits for the job to end; see `Client.wait_for_job`."""
        return await self._client.wait_for_job(self.id, timeout=timeout, on_progress=on_progress)
