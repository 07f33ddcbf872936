"""The request for a chat completion."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)

from generation.query.chat_tasks import task_of
from rag.api import shapes
from rag.api.openai.history import ChatMessage, conversation, prompt, with_texts
from rag.api.openai.schemas import CollectionRequest
from rag.api.sampling import SamplingIn
from rag.api.schemas import LABEL_CHARS, Asking, Text, up_to_question
from rag.text.numbers import Count, Flag
from rag.text.validation_errors import FirstFaults
from rag.types import ChatTask, Message, SamplingOverrides

_NO_FUNCTIONS = (
    "no functions are called: answers come from the documents alone; leave it out, or send"
    ' "auto" or "none" as the {choice}'
)
_ACCEPTED: dict[str, tuple[tuple[Any, ...], str]] = {
    "n": ((None, 1), "there is one answer; leave it out"),
    "tools": ((None, []), _NO_FUNCTIONS.format(choice="tool_choice")),
    "functions": ((None, []), _NO_FUNCTIONS.format(choice="function_call")),
    "logprobs": ((None, False), "there are no probabilities of tokens; leave it out"),
    "modalities": ((None, ["text"]), "answers are text; leave it out"),
}
"""Parameters that change the form of an answer: the accepted values, and why others are not."""
_CHOICES = {"tools": "tool_choice", "functions": "function_call"}
"""Parameters that say whether functions are to be called."""
_MAY_CALL_NONE = (None, "auto", "none")


def _one_of(name: str) -> Any:
    """Returns the field of a parameter that has one of the accepted values, or is left out."""
    accepted, _ = _ACCEPTED[name]
    return Field(None, json_schema_extra={"enum": list(accepted)})


def _is_flag(value: Any) -> bool:
    """True for a truth value: True equals 1 in Python, but not in JSON."""
    return isinstance(value, bool)


def _label(value: Any) -> Any:
    """Cuts the name of a user to the length of a label; an empty one is none."""
    return value[:LABEL_CHARS] or None if isinstance(value, str) else value


class StreamOptions(BaseModel):
    """With `include_usage`, the last chunk has the usage and no choices."""

    include_usage: Flag | None = None


class Conversation(CollectionRequest):
    """A conversation; the user's last message is the question, and later messages are not read."""

    messages: Annotated[list[ChatMessage], Field(min_length=1), FirstFaults()] = Field(
        json_schema_extra=shapes.CONVERSATION
    )
    metadata: Any = Field(None, description="A chat UI may name its `task` here.")

    @field_validator("messages", mode="before")
    @classmethod
    def _with_texts(cls, value: Any) -> Any:
        return with_texts(value)

    @field_validator("messages")
    @classmethod
    def _has_a_question(cls, value: list[ChatMessage]) -> list[ChatMessage]:
        up_to_question(conversation(value))
        return value

    def conversation(self) -> list[Message]:
        """Returns the question and the messages before it; rules for answers are the pipeline's."""
        return up_to_question(conversation(self.messages))

    def task(self) -> ChatTask | None:
        """Returns the task of a chat UI that the messages are; None if they ask a question."""
        named = self.metadata.get("task") if isinstance(self.metadata, dict) else None
        return task_of(prompt(self.messages), named=named if isinstance(named, str) else None)


class ChatRequest(Conversation, SamplingIn):
    """A conversation; the user's last message is the question, and later messages are not read.

    Sampling parameters that are not listed here (penalties, logit_bias, …) have no effect.
    """

    stream: Flag | None = False
    stream_options: StreamOptions | None = None
    max_completion_tokens: Count | None = Field(
        None, description="The newer name of max_tokens, and before it."
    )
    user: Annotated[Text | None, BeforeValidator(_label), WithJsonSchema(shapes.USER)] = None
    plumbline: Asking = Field(
        Asking(), description="Which passages answer, and what becomes of unsupported claims."
    )
    n: Any = _one_of("n")
    tool_choice: Any = Field(None, description='"auto" or "none": no function is called.')
    function_call: Any = Field(None, description="The older name of tool_choice.")
    tools: Any = _one_of("tools")
    functions: Any = _one_of("functions")
    logprobs: Any = _one_of("logprobs")
    modalities: Any = _one_of("modalities")

    @field_validator(*_ACCEPTED)
    @classmethod
    def _is_accepted(cls, value: Any, info: ValidationInfo) -> Any:
        name = info.field_name or ""
        accepted, why = _ACCEPTED[name]
        need_not_call = name in _CHOICES and info.data.get(_CHOICES[name]) in _MAY_CALL_NONE
        if need_not_call and isinstance(value, list):
            return value
        if not any(value == each and _is_flag(value) == _is_flag(each) for each in accepted):
            raise ValueError(why)
        return value

    def overrides(self) -> SamplingOverrides:
        """Returns the parameters in the generator's form."""
        given = super().overrides()
        return replace(given, max_tokens=self.max_completion_tokens or given.max_tokens)
