"""A request to make, and the function that reads its response; other modules send it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Generic, Protocol, TypeVar
from urllib.parse import quote

import httpx
from pydantic import ValidationError

from .errors import unexpected
from .requests import File
from .responses import Response

T_co = TypeVar("T_co", covariant=True)
Item_co = TypeVar("Item_co", covariant=True)
Read = TypeVar("Read", bound=Response)
Progress = Callable[[int, int], None]
"""Called with the bytes of a request that were sent, and with all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """Fields and files of a form; `name` is the files' field. They are read while they are sent."""

    fields: Mapping[str, str | Sequence[str]]
    files: Sequence[File]
    name: str = "files"
    on_progress: Progress | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[T_co]):
    """A request; `read` turns its successful response into the result.

    A `repeatable` call has the same effect if it is made twice. `cursor` is the parameter of a
    listing that names its next page.
    """

    method: str
    path: str
    read: Callable[[httpx.Response], T_co]
    params: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    form: Form | None = None
    repeatable: bool = True
    cursor: str = "cursor"

    @contextlib.contextmanager
    def request(self, http: httpx.Client | httpx.AsyncClient) -> Iterator[httpx.Request]:
        """Yields the request; its files are open in the block.

        Raises:
            OSError: A file cannot be opened.
        """
        params, headers = given(**self.params), self.headers
        if self.form is None:
            yield http.build_request(
                self.method, self.path, params=params, headers=headers, json=self.body
            )
            return
        with contextlib.ExitStack() as stack:
            files = [(self.form.name, (f.name, _opened(f, stack))) for f in self.form.files]
            request = http.build_request(
                self.method,
                self.path,
                params=params,
                headers=headers,
                data=dict(self.form.fields),
                files=files,
            )
            if self.form.on_progress:
                request.stream = _Counted(request, self.form.on_progress)
            yield request

    def after(self, cursor: str) -> Call[T_co]:
        """Returns the call for the next page of a listing."""
        return replace(self, params={**self.params, self.cursor: cursor})


class Page(Protocol[Item_co]):
    """A page of a listing."""

    @property
    def items(self) -> Sequence[Item_co]:
        """The items of the page."""

    @property
    def next_cursor(self) -> str | None:
        """The place of the next page; None on the last."""


def given(**values: Any) -> dict[str, Any]:
    """Returns the values that are not None: the server has its own defaults."""
    return {name: value for name, value in values.items() if value is not None}


def segment(name: str) -> str:
    """Returns a name as one part of a path.

    Dots are encoded, too: a client takes `..` for the folder above.
    """
    return quote(name, safe="", errors="replace").replace(".", "%2E")


def read_as(model: type[Read]) -> Callable[[httpx.Response], Read]:
    """Returns a function that reads responses of this model."""

    def read(response: httpx.Response) -> Read:
        try:
            return model.model_validate_json(response.content)
        except ValidationError as error:
            fault = error.errors()[0]
            where = ".".join(map(str, fault["loc"]))
            raise unexpected(response, f"{where or 'the body'}: {fault['msg']}") from error

    return read


def nothing(_: httpx.Response) -> None:
    """Reads a response without a body."""


def _opened(file: File, stack: contextlib.ExitStack) -> bytes | BinaryIO:
    if isinstance(file.content, Path):
        return stack.enter_context(file.content.open("rb"))
    return file.content


class _Counted(httpx.SyncByteStream, httpx.AsyncByteStream):
    """The body of a request; reports how much of it was sent."""

    def __init__(self, request: httpx.Request, on_progress: Progress) -> None:
        self._body = request.stream
        self._total = int(request.headers.get("content-length", 0))
        self._sent = 0
        self._on_progress = on_progress

    def __iter__(self) -> Iterator[bytes]:
        assert isinstance(self._body, httpx.SyncByteStream)  # noqa: S101 - httpx' forms are both
        for piece in self._body:
            yield piece
            self._count(piece)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        assert isinstance(self._body, httpx.AsyncByteStream)  # noqa: S101 - httpx' forms are both
        async for piece in self._body:
            yield piece
            self._count(piece)

    def _count(self, piece: bytes) -> None:
        self._sent += len(piece)
        self._on_progress(self._sent, self._total)
