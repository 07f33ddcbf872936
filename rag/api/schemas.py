"""Request models: untrusted input is checked here."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from ingest.sources.web import parse_url
from rag.api import shapes
from rag.api.acl_json import AclIn
from rag.api.checked_names import checked_name, sendable, storable
from rag.api.sampling import SamplingIn
from rag.errors import ReadError
from rag.records import Feedback, Rating
from rag.settings.tree import COLLECTION
from rag.text.numbers import Flag, Integer
from rag.text.validation_errors import FewUnknown, FirstFaults, shortened
from rag.types import (
    ClaimPolicy,
    Condition,
    Message,
    Priority,
)
from retrieval.indexes.filters import check_value

URI_CHARS = 4096
LABEL_CHARS = 200
FIELDS = 64
"""Most fields of a document's meta."""
FIELD_NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$"
_Scalar = str | bool | int | float


def _scalars(value: Any) -> Any:
    """Checks values with one message, while the union of types would give one for each type."""
    for item in value if isinstance(value, list) else [value]:
        if not isinstance(item, _Scalar):
            raise ValueError("a string, number, truth value or a list of them is allowed")  # noqa: TRY004
        if isinstance(item, str):
            storable(item)
        elif not abs(item) <= sys.float_info.max:
            raise ValueError("a number is finite and at most 1.8e308")
    return value


def _too_many(values: int) -> str:
    return (
        f"the lists of all filters hold {values:,} values and may hold {shapes.FILTER_VALUES:,}"
        " together: give the documents a field that says what they have in common, or ask several"
        " times"
    )


def _few_fields(value: Any) -> Any:
    """Counts the fields before they are checked: each may have a fault."""
    if isinstance(value, dict) and len(value) > FIELDS:
        raise ValueError(f"it has {len(value):,} fields, and {FIELDS} are allowed")
    return value


def _has_words(text: str) -> str:
    if not text.strip():
        raise ValueError("the question is blank")
    return text


def up_to_question(messages: Sequence[Message]) -> list[Message]:
    """Returns a conversation up to its question, which is the last message of the user.

    Raises:
        ValueError: The user has no message in it, or a blank one.
    """
    places = [place for place, message in enumerate(messages) if message.role == "user"]
    if not places:
        raise ValueError("no message is the user's, and the user's last one is the question")
    for place in places:
        _has_words(messages[place].content)
    return list(messages[: places[-1] + 1])


Text = Annotated[str, AfterValidator(sendable)]
"""Text in which the characters that no model and no database can take are replaced."""
QuestionText = Annotated[Text, AfterValidator(_has_words), WithJsonSchema(shapes.QUESTION)]
_Storable = Annotated[
    str, AfterValidator(storable), Field(json_schema_extra={"pattern": shapes.NO_NUL})
]
_Name = Annotated[
    str, AfterValidator(checked_name), Field(json_schema_extra={"pattern": shapes.NAME})
]
_DocumentText = Annotated[_Storable, Field(min_length=1)]
"""Text that is stored unchanged, character for character."""
Label = Annotated[Text, Field(min_length=1, max_length=LABEL_CHARS)]
_Value = Annotated[_Scalar | list[_Scalar], BeforeValidator(_scalars), WithJsonSchema(shapes.VALUE)]


class _Request(FewUnknown):
    model_config = ConfigDict(extra="forbid")


class Filter(_Request):
    """A condition on `document_id`, `title`, `uri`, `page` or a field of the documents' meta."""

    model_config = ConfigDict(json_schema_extra=shapes.FILTER)

    field: str = Field(pattern=FIELD_NAME)
    op: Literal["eq", "in", "gt", "gte", "lt", "lte"]
    value: _Value

    @field_validator("value", mode="before")
    @classmethod
    def _some(cls, value: Any) -> Any:
        if value == []:
            raise ValueError("the list is empty: no document would fit")
        if isinstance(value, list) and len(value) > shapes.FILTER_VALUES:
            raise ValueError(_too_many(len(value)))
        return value

    def condition(self) -> Condition:
        """Returns the condition in the index's form.

        Raises:
            InputError: The operator does not accept such a value.
        """
        value = tuple(self.value) if isinstance(self.value, list) else self.value
        field = self.field.removeprefix("meta.")
        condition = Condition(field=field, op=self.op, value=value)
        check_value(condition)  # here: an empty collection has no index to check it
        return condition


class Retrieval(_Request):
    """The number of passages and filters on them, and labels that group questions in traces."""

    top_k: Integer = Field(10, ge=1, json_schema_extra={"x-maximum": "limits.top_k"})
    filters: list[Filter] = Field(default=[], max_length=20)
    user: Label | None = Field(None, description="Who asks, in traces.")
    session_id: Label | None = Field(None, description="The conversation, in traces.")
    tags: list[Label] = Field(default=[], max_length=20, description="Anything else, in traces.")
    priority: Priority = Field("standard", description="The class in which it waits, if it must.")

    @field_validator("filters")
    @classmethod
    def _few_values(cls, filters: list[Filter]) -> list[Filter]:
        values = sum(len(f.value) for f in filters if isinstance(f.value, list))
        if values > shapes.FILTER_VALUES:
            raise ValueError(_too_many(values))
        return filters


class _Question(Retrieval):
    collection: str = Field("default", pattern=COLLECTION)


class SearchRequest(_Question):
    """A question and the collection to search."""

    query: QuestionText = Field(min_length=1, examples=["How long may a line be?"])

    def conversation(self) -> list[Message]:
        """Returns the question as a conversation of one message."""
        return [Message(role="user", content=self.query)]


class Turn(_Request):
    """One message of a conversation, with its role."""

    model_config = ConfigDict(json_schema_extra=shapes.TURN)

    role: Literal["user", "assistant"]
    content: Text

    def message(self) -> Message:
        """Returns the turn in the pipeline's form."""
        return Message(role=self.role, content=self.content)


class Asking(Retrieval):
    """Which passages answer, and what becomes of sentences that they do not support."""

    claims: ClaimPolicy | None = Field(
        None,
        description="A model's sentence that no passage supports is not shown (strict), marked,"
        " or not looked for (off); by default as in the settings.",
    )


class QueryRequest(_Question, Asking, SamplingIn):
    """A question to answer, or a conversation that ends with one.

    Either `query` or `messages` is set. With `stream`, the answer comes as server-sent events.
    """

    model_config = ConfigDict(json_schema_extra=shapes.QUERY)

    query: QuestionText | None = Field(
        None, min_length=1, examples=["How long may a line be?"], description="The question."
    )
    messages: Annotated[list[Turn], Field(min_length=1), FirstFaults()] | None = Field(
        None,
        description="A conversation; the user's last message is the question, and ends it.",
        json_schema_extra=shapes.CONVERSATION,
    )
    stream: Flag = False

    @field_validator("messages")
    @classmethod
    def _has_a_question(cls, value: list[Turn] | None) -> list[Turn] | None:
        if value is not None:
            up_to_question([turn.message() for turn in value])
        return value

    @model_validator(mode="after")
    def _either(self) -> Self:
        if (self.query is None) == (self.messages is None):
            raise ValueError("send either `query` or `messages`")
        return self

    def conversation(self) -> list[Message]:
        """Returns the question and the messages before it."""
        if self.messages is None:
            return [Message(role="user", content=self.query or "")]
        return up_to_question([turn.message() for turn in self.messages])


class FeedbackRequest(_Request):
    """Feedback on an answer; fields that are left out keep their earlier values."""

    model_config = ConfigDict(json_schema_extra=shapes.FEEDBACK)

    answer_id: str = Field(pattern=r"^[0-9a-f]{32}$", description="The one that came with it.")
    rating: Rating | None = None
    comment: Text | None = Field(None, min_length=1, max_length=4000)
    correction: Text | None = Field(
        None, min_length=1, max_length=20_000, description="What the answer should have been."
    )

    @model_validator(mode="after")
    def _has_feedback(self) -> Self:
        if self.rating is None and self.comment is None and self.correction is None:
            raise ValueError("send a `rating`, a `comment` or a `correction`")
        return self

    def feedback(self) -> Feedback:
        """Returns the feedback in the catalog's form."""
        return Feedback(rating=self.rating, comment=self.comment, correction=self.correction)


class DocumentIn(_Request):
    """A document as JSON. A given id is kept; without one it is derived from the uri.

    Without a text, the document is fetched from its uri.
    """

    model_config = ConfigDict(json_schema_extra=shapes.DOCUMENT)

    id: _Name | None = Field(
        None,
        min_length=1,
        max_length=512,
        json_schema_extra={"not": {"type": "string", "pattern": "/(chunks|content|acl)$"}},
    )
    title: str | None = Field(None, max_length=1000)
    text: _DocumentText | None = None
    uri: _Name | None = Field(None, min_length=1, max_length=URI_CHARS)
    meta: Annotated[dict[str, _Value], BeforeValidator(_few_fields)] = Field(
        default={},
        max_length=FIELDS,
        json_schema_extra={"propertyNames": {"pattern": FIELD_NAME}},
    )

    acl: AclIn | None = Field(None, description="Who may read it; left out: as before.")

    @field_validator("id")
    @classmethod
    def _reachable(cls, value: str | None) -> str | None:
        for part in ("chunks", "content", "acl"):
            if value is not None and value.endswith(f"/{part}"):
                raise ValueError(f"it ends in /{part}, which is where the {part} of a document is")
        return value

    @field_validator("meta")
    @classmethod
    def _field_names(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in value:
            if not re.fullmatch(FIELD_NAME, name):
                raise ValueError(
                    f"the field name {shortened(name)!r} has characters other than"
                    " A-Z a-z 0-9 _ . -"
                )
        return value

    @model_validator(mode="after")
    def _has_source(self) -> Self:
        if self.text is None:
            if self.uri is None:
                raise ValueError("it has neither a text nor a uri to fetch it from")
            if self.title is not None or self.meta:
                raise ValueError("title and meta belong to a text; a fetched document has its own")
            try:
                parse_url(self.uri)
            except ReadError as error:
                raise ValueError(str(error)) from error
        return self


class DocumentsRequest(_Request):
    """Documents to ingest."""

    collection: str = Field("default", pattern=COLLECTION)
    documents: Annotated[list[DocumentIn], Field(min_length=1), FirstFaults()]
