"""The messages of a request: what chat clients send back of a conversation.

The question is the user's last message. Of the others, only what was said counts: calls of tools
and their results, images, refusals and our own abstentions are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, WithJsonSchema

from rag.api import shapes
from rag.api.openai.texts import TEXT_PARTS, text_of
from rag.api.schemas import Text
from rag.types import Message

NO_ANSWER = "No answer: "
"""Begins the content of an answer that abstains."""


class ChatMessage(BaseModel):
    """One message of a conversation; of tools and functions nothing is read."""

    model_config = ConfigDict(json_schema_extra=shapes.CHAT_TURN)

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Annotated[Text, BeforeValidator(text_of), WithJsonSchema(shapes.CHAT_CONTENT)]


def with_texts(messages: Any) -> Any:
    """Returns the messages of a request; those besides the question may lack a text."""
    if not isinstance(messages, list):
        return messages
    last = max(_places(messages), default=-1)
    return [
        message if place == last or not isinstance(message, dict) else _past(message)
        for place, message in enumerate(messages)
    ]


def _places(messages: Sequence[Any]) -> list[int]:
    """Returns the places of the user's messages."""
    return [n for n, m in enumerate(messages) if isinstance(m, dict) and m.get("role") == "user"]


def _past(message: dict[str, Any]) -> dict[str, Any]:
    content = message.get("content")
    if content is None and message.get("role") != "user":
        return message | {"content": ""}
    if isinstance(content, list):
        return message | {"content": [part for part in content if not _is_other(part)]}
    return message


def _is_other(part: Any) -> bool:
    """True for a part of a message that is no text, such as an image or a refusal."""
    kind = part.get("type") if isinstance(part, dict) else None
    return isinstance(kind, str) and kind not in TEXT_PARTS


def conversation(messages: Sequence[ChatMessage]) -> list[Message]:
    """Returns what the user and the assistant said, and the question, even if it is blank."""
    users = [place for place, message in enumerate(messages) if message.role == "user"]
    return [
        Message(role=message.role, content=message.content)
        for place, message in enumerate(messages)
        if message.role in ("user", "assistant")
        and (place in users[-1:] or _says_something(message))
    ]


def _says_something(message: ChatMessage) -> bool:
    abstains = message.role == "assistant" and message.content.startswith(NO_ANSWER)
    return bool(message.content.strip()) and not abstains


def prompt(messages: Sequence[ChatMessage]) -> list[Message]:
    """Returns all that a model would read, the rules of the client included."""
    roles: dict[str, Literal["system", "user", "assistant"]] = {
        "system": "system",
        "developer": "system",
        "user": "user",
        "assistant": "assistant",
    }
    return [
        Message(role=roles[message.role], content=message.content)
        for message in messages
        if message.role in roles and message.content.strip()
    ]
