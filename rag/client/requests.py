"""Parts of requests, as dictionaries of the names in `/openapi.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, NotRequired

from typing_extensions import TypedDict  # pydantic, which has it, refuses that of Python 3.11

Scalar = str | bool | int | float
Priority = Literal["interactive", "standard", "batch"]
"""The class in which a question waits, where too many are under way."""


class Filter(TypedDict):
    """A condition on `document_id`, `title`, `uri`, `page` or a field of the documents' meta."""

    field: str
    op: Literal["eq", "in", "gt", "gte", "lt", "lte"]
    value: Scalar | Sequence[Scalar]


class Message(TypedDict):
    """One message of a conversation, with its role."""

    role: Literal["user", "assistant"]
    content: str


class JsonSchema(TypedDict):
    """A JSON schema in OpenAI's form."""

    schema: Mapping[str, Any]


class ResponseFormat(TypedDict):
    """The format of an answer's text: `text`, any JSON object, or JSON that fits a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: NotRequired[JsonSchema | None]


class Readers(TypedDict, total=False):
    """An ACL: the callers who may read a document, or with `public` all of the tenant."""

    users: Sequence[str]
    groups: Sequence[str]
    public: bool


class NewDocument(TypedDict, total=False):
    """A document to ingest: it has a text, or a web address as `uri` to fetch it from."""

    id: str | None
    title: str | None
    text: str | None
    uri: str | None
    meta: Mapping[str, Scalar | Sequence[Scalar]]
    acl: Readers | None


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file to send.

    Attributes:
        name: its name, whose extension says how it is read. Its folders, if it has any, tell it
            apart from others of its name.
        content: its bytes; the path of a file; or a file that is open for reading bytes.
        uri: where it comes from; it tells the document apart from others, in place of the name.
            All files of a request have one, or none.
    """

    name: str
    content: bytes | Path | BinaryIO
    uri: str | None = None


def file_of(given: File | Path | str) -> File:
    """Returns a file to send; a path stands for the file there, by its name alone."""
    if isinstance(given, File):
        return given
    path = Path(given)
    return File(name=path.name, content=path)


class Guards(TypedDict, total=False):
    """Limits of a variant: shares, and seconds and cost of a question; None: no limit."""

    errors: float | None
    abstained: float | None
    seconds: float | None
    cost: float | None
    loss: float | None


class Tolerances(TypedDict, total=False):
    """The most by which a canary may be worse: shares, and factors of seconds and cost."""

    errors: float
    abstained: float
    seconds: float
    cost: float
    loss: float


class NewPlan(TypedDict, total=False):
    """The conditions of a rollout; what is left out is as the server has it."""

    steps: list[float]
    dwell_seconds: float
    questions: int
    limits: Guards
    tolerances: Tolerances
