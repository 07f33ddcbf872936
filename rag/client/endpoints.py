"""The endpoints as methods of both clients, each written once.

An endpoint is a function that makes a `Call`. As an attribute of a client it takes the same
arguments: `Client` makes the call and returns its result, `AsyncClient` returns a coroutine.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Self, TypeVar, overload

from . import (
    administration,
    batches,
    collections,
    documents,
    health,
    jobs,
    keys,
    questions,
    rollouts,
    token_refusals,
    usage,
)
from .call import Call, Page
from .document_responses import Accepted
from .events import Event

if TYPE_CHECKING:
    from .clients import AsyncClient, Client
    from .submitted import AsyncSubmitted, Submitted

P = ParamSpec("P")
T = TypeVar("T")


class _Bound(Generic[P]):
    """A function that makes calls; a client gets the result by its method `by`."""

    by = ""

    def __init__(self, make: Callable[P, Call[Any]]) -> None:
        self._make = make
        self.__doc__ = make.__doc__

    def _of(self, client: object) -> Any:
        make, run = self._make, getattr(client, self.by)

        @functools.wraps(make)
        def method(*args: P.args, **kwargs: P.kwargs) -> Any:
            return run(make(*args, **kwargs))

        return method


class Endpoint(_Bound[P], Generic[P, T]):
    """Returns the result of a call."""

    by = "call"

    if TYPE_CHECKING:

        def __init__(self, make: Callable[P, Call[T]]) -> None: ...

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    @overload
    def __get__(self, client: Client, owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, client: AsyncClient, owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, client: object, owner: type) -> Any:
        return self if client is None else self._of(client)


class Listing(_Bound[P], Generic[P, T]):
    """Yields what is on all pages of a listing."""

    by = "items"

    if TYPE_CHECKING:

        def __init__(self, make: Callable[P, Call[Page[T]]]) -> None: ...

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    @overload
    def __get__(self, client: Client, owner: type) -> Callable[P, Iterator[T]]: ...
    @overload
    def __get__(self, client: AsyncClient, owner: type) -> Callable[P, AsyncIterator[T]]: ...
    def __get__(self, client: object, owner: type) -> Any:
        return self if client is None else self._of(client)


class Submission(_Bound[P]):
    """Sends documents; returns the job that ingests them, which can be waited for."""

    by = "submit"

    if TYPE_CHECKING:

        def __init__(self, make: Callable[P, Call[Accepted]]) -> None: ...

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    @overload
    def __get__(self, client: Client, owner: type) -> Callable[P, Submitted]: ...
    @overload
    def __get__(
        self, client: AsyncClient, owner: type
    ) -> Callable[P, Coroutine[Any, Any, AsyncSubmitted]]: ...
    def __get__(self, client: object, owner: type) -> Any:
        return self if client is None else self._of(client)


class Stream(_Bound[P]):
    """Opens a stream of events in a `with` block; leaving the block ends the server's work."""

    by = "events"

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    @overload
    def __get__(
        self, client: Client, owner: type
    ) -> Callable[P, AbstractContextManager[Iterator[Event], None]]: ...
    @overload
    def __get__(
        self, client: AsyncClient, owner: type
    ) -> Callable[P, AbstractAsyncContextManager[AsyncIterator[Event], None]]: ...
    def __get__(self, client: object, owner: type) -> Any:
        return self if client is None else self._of(client)


class Endpoints:
    """All endpoints of Plumbline's own API, by the names of `/openapi.json`.

    `ask` is `query` there, and `stream` the same as events. `upload_files` is `submit_documents`.
    A listing over all pages, as `all_documents`, is the endpoint `list_documents`.
    """

    ask = Endpoint(questions.ask)
    stream = Stream(questions.ask)
    search = Endpoint(questions.search)
    give_feedback = Endpoint(questions.give_feedback)

    submit_documents = Submission(documents.submit_documents)
    upload_files = Submission(documents.upload_files)
    list_documents = Endpoint(documents.list_documents)
    all_documents = Listing(documents.list_documents)
    get_document = Endpoint(documents.get_document)
    delete_document = Endpoint(documents.delete_document)
    list_chunks = Endpoint(documents.list_chunks)
    all_chunks = Listing(documents.list_chunks)
    get_content = Endpoint(documents.get_content)
    get_acl = Endpoint(documents.get_acl)
    put_acl = Endpoint(documents.put_acl)
    delete_acl = Endpoint(documents.delete_acl)

    list_collections = Endpoint(collections.list_collections)
    delete_collection = Endpoint(collections.delete_collection)
    get_default_acl = Endpoint(collections.get_default_acl)
    put_default_acl = Endpoint(collections.put_default_acl)

    list_jobs = Endpoint(jobs.list_jobs)
    all_jobs = Listing(jobs.list_jobs)
    get_job = Endpoint(jobs.get_job)
    cancel_job = Endpoint(jobs.cancel_job)
    retry_job = Endpoint(jobs.retry_job)

    create_file = Endpoint(batches.create_file)
    list_files = Endpoint(batches.list_files)
    all_files = Listing(batches.list_files)
    get_file = Endpoint(batches.get_file)
    get_file_content = Endpoint(batches.get_file_content)
    delete_file = Endpoint(batches.delete_file)
    create_batch = Endpoint(batches.create_batch)
    list_batches = Endpoint(batches.list_batches)
    all_batches = Listing(batches.list_batches)
    get_batch = Endpoint(batches.get_batch)
    cancel_batch = Endpoint(batches.cancel_batch)
    delete_batch = Endpoint(batches.delete_batch)

    create_key = Endpoint(keys.create_key)
    list_keys = Endpoint(keys.list_keys)
    rotate_key = Endpoint(keys.rotate_key)
    revoke_key = Endpoint(keys.revoke_key)

    refuse_tokens = Endpoint(token_refusals.refuse_tokens)
    list_refused_tokens = Endpoint(token_refusals.list_refused_tokens)
    allow_tokens = Endpoint(token_refusals.allow_tokens)

    list_rollouts = Endpoint(rollouts.list_rollouts)
    get_rollout = Endpoint(rollouts.get_rollout)
    start_rollout = Endpoint(rollouts.start_rollout)
    change_rollout = Endpoint(rollouts.change_rollout)
    delete_rollout = Endpoint(rollouts.delete_rollout)
    compare_arms = Endpoint(rollouts.compare_arms)
    get_power = Endpoint(rollouts.get_power)

    get_me = Endpoint(administration.get_me)
    get_usage = Endpoint(usage.get_usage)
    list_answers = Endpoint(administration.list_answers)
    all_answers = Listing(administration.list_answers)
    get_drift = Endpoint(administration.get_drift)
    list_runs = Endpoint(administration.list_runs)
    all_runs = Listing(administration.list_runs)
    get_run = Endpoint(administration.get_run)
    compare_runs = Endpoint(administration.compare_runs)
    get_queue = Endpoint(administration.get_queue)
    list_tenants = Endpoint(administration.list_tenants)
    all_tenants = Listing(administration.list_tenants)
    healthz = Endpoint(health.healthz)
    readyz = Endpoint(health.readyz)
    get_health = Endpoint(health.get_health)
    get_metrics = Endpoint(health.get_metrics)
