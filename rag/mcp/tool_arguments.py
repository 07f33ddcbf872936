"""The arguments of the tools. Their JSON Schemas, with the descriptions, are what agents read."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rag.text.numbers import Integer
from rag.text.validation_errors import FewUnknown, faults_of, first, shortened

MAX_TOP_K = 20
"""Most passages of a search: each comes with its text, and agents read all of it."""
MAX_DOCUMENTS = 100
_FAULT_CHARS = 300
_Scalar = str | bool | int | float
Collection = Annotated[
    str | None,
    Field(description="The collection; left out, the one that this server was set up for."),
]
Cursor = Annotated[
    str | None,
    Field(max_length=1000, description="`next_cursor` of the page before; none: the first page."),
]


class Arguments(FewUnknown):
    """The arguments of a tool; others are refused."""

    model_config = ConfigDict(extra="forbid")


class Condition(Arguments):
    """A condition that documents meet."""

    field: str = Field(description="document_id, title, uri, page, or a field of the metadata.")
    op: Literal["eq", "in", "gt", "gte", "lt", "lte"]
    value: _Scalar | list[_Scalar]


class Question(Arguments):
    """A question to a collection."""

    query: str = Field(min_length=1, description="A question, or words to look for.")
    collection: Collection = None
    top_k: Integer = Field(10, ge=1, le=MAX_TOP_K, description="Most passages to look at.")
    filters: list[Condition] = Field(
        default=[], max_length=20, description="Only documents that meet all of these conditions."
    )

    def body(self, default: str) -> dict[str, Any]:
        """Returns the question as the REST API reads it, to a collection, by default `default`."""
        asked = self.model_dump(mode="json")
        return asked | {"collection": self.collection or default}


class AnswerArguments(Question):
    """A question to be answered."""

    fresh: bool = Field(
        default=False, description="Makes the answer now, whatever an equal question got before."
    )

    def body(self, default: str) -> dict[str, Any]:
        """Returns the question as the REST API reads it, where a header asks for a new answer."""
        asked = super().body(default)
        del asked["fresh"]
        return asked


class SearchArguments(Question):
    """A question to a collection, and a place in what it finds."""

    cursor: Cursor = None

    def body(self, default: str) -> dict[str, Any]:
        """Returns the question as the REST API reads it, which has no cursors."""
        asked = super().body(default)
        del asked["cursor"]
        return asked


class FetchArguments(Arguments):
    """A document, and where to begin."""

    id: str = Field(min_length=1, max_length=1000, description="The `id` of a result of `search`.")
    start: Integer = Field(
        0, ge=0, description="The character to begin at: `next_start` of the part before."
    )


class ListArguments(Arguments):
    """A place in a listing."""

    cursor: Cursor = None


class NewDocument(Arguments):
    """A document to add: a text, or a uri to fetch it from."""

    text: str | None = Field(None, description="Plain text or Markdown.")
    title: str | None = None
    uri: str | None = Field(None, description="Where it is from; without a text, it is fetched.")
    id: str | None = Field(
        None, description="Its id in the collection; replaces the document that has it."
    )
    meta: dict[str, Any] = Field(default={}, description="Fields to filter by.")


class IngestArguments(Arguments):
    """Documents for a collection, which is made if there is none."""

    documents: list[NewDocument] = Field(min_length=1, max_length=MAX_DOCUMENTS)
    collection: Collection = None

    def body(self, default: str) -> dict[str, Any]:
        """Returns the documents as the REST API reads them."""
        documents = [each.model_dump(exclude_defaults=True) for each in self.documents]
        return {"collection": self.collection or default, "documents": documents}


class JobArguments(Arguments):
    """A job."""

    job_id: str = Field(pattern="^[0-9a-f]{32}$", description="The one that `ingest` gave.")


def sentences(error: ValidationError, arguments: type[BaseModel]) -> str:
    """Returns the first faults of given arguments as sentences, and the names that there are."""
    faults = faults_of(error)
    listed = first(map(_sentence, faults), len(faults), between=" ")
    return f"{listed} The arguments are: {', '.join(arguments.model_fields)}."


def _sentence(fault: Any) -> str:
    place = ".".join(shortened(str(part)) for part in fault["loc"]) or "The arguments"
    says = shortened(fault["msg"].removeprefix("Value error, "), _FAULT_CHARS)
    return f"{place}: {says}."
