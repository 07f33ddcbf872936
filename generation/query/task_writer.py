"""Does the tasks of chat UIs, without a search."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from generation.query.short_completion import SECONDS, write
from rag.protocols import ChatModel
from rag.telemetry.trace import Trace
from rag.types import ChatTask, ChatTaskKind, Usage

TITLE_CHARS = 60
MAX_TOKENS = 512
TEMPLATE = "chat_task.v1"


def harmless(task: ChatTask) -> str:
    """Returns what does no harm in place of the result, in the form that the task asks for."""
    first, last = (task.asked[0], task.asked[-1]) if task.asked else ("", "")
    results: Mapping[ChatTaskKind, str | list[str]] = {
        "title": _title(first),
        "tags": ["General"],
        "follow_ups": [],
        "search_queries": [last] if last else [],
        "standalone_question": last,
        "autocompletion": "",
        "emoji": "\N{SPEECH BALLOON}",
        "image_prompt": last,
        "tool_calls": [],
    }
    return _in_form(task, results[task.kind])


def _in_form(task: ChatTask, result: str | list[str]) -> str:
    if task.key:
        return json.dumps({task.key: result}, ensure_ascii=False)
    return result if isinstance(result, str) else "\n".join(result)


def _title(question: str) -> str:
    """Returns the question's first words, up to `TITLE_CHARS`."""
    words = " ".join(question.split()).rstrip("?.! ")
    if len(words) <= TITLE_CHARS:
        return words or "Chat"
    return f"{words[:TITLE_CHARS].rsplit(' ', 1)[0]} …"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskResult:
    """The text of a task; `usage` and `degraded` as in `Answer`."""

    text: str
    usage: Usage
    degraded: tuple[str, ...] = ()


class TaskWriter:
    """Does the tasks of chat UIs, by a language model if there is one."""

    def __init__(self, model: ChatModel | None, *, seconds: float = SECONDS) -> None:
        """Make a writer; `seconds` limits each task."""
        self._model = model
        self._seconds = seconds

    async def write(self, task: ChatTask, trace: Trace) -> TaskResult:
        """Returns the model's text; without a model, or if it fails, what does no harm."""
        if self._model is None:
            return TaskResult(text=harmless(task), usage=Usage())
        with trace.span("task", "generation") as span:
            written = await write(
                self._model,
                task.messages,
                trace,
                span,
                template=TEMPLATE,
                max_tokens=MAX_TOKENS,
                seconds=self._seconds,
            )
            if written.error:
                degraded = (trace.degrade("task", written.error),)
                return TaskResult(text=harmless(task), usage=written.usage, degraded=degraded)
        return TaskResult(text=written.text, usage=written.usage)
