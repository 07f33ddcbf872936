"""`rag chat`: a conversation with citations, streamed to the terminal."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator

from anyio.from_thread import BlockingPortal, start_blocking_portal

from rag.cli import answer_lines, output
from rag.cli.argument_text import text_of
from rag.cli.commands import ANSWERING, check_collection, client_for
from rag.cli.connection import own_errors
from rag.cli.last_answer import remember
from rag.cli.printable import printable
from rag.cli.progress import activity
from rag.cli.questions import filters
from rag.cli.scope import caller
from rag.cli.state_folder import state_file, write_private
from rag.client import AnswerEvent, AsyncClient, Message, RetractEvent, TokenEvent
from rag.errors import RagError
from rag.settings.tree import Settings
from rag.text.plain import plain

MESSAGES = 20
"""The last messages that are sent with a question: the service reads fewer."""
_PROMPT = "> "
_HISTORY = "chat-history"
_HISTORY_LINES = 1000


def chat(args: argparse.Namespace, settings: Settings) -> int:
    """Answers the questions on standard input to its end; returns 1 if one failed.

    Ctrl-C ends an answer, and between answers the conversation. The calls are made by an event loop
    on a thread of its own: this thread can wait for the next line.
    """
    check_collection(args)
    opening = client_for(args.url, settings, ANSWERING, caller(args))
    with contextlib.ExitStack() as stack:
        portal = stack.enter_context(start_blocking_portal())
        with activity("Loading", quiet=args.json):
            client = stack.enter_context(portal.wrap_async_context_manager(opening))
        stack.enter_context(_history())
        return _answer_all(portal, _Conversation(client, args))


def _answer_all(portal: BlockingPortal, conversation: _Conversation) -> int:
    failed = False
    for question in _lines():
        answering = portal.start_task_soon(conversation.ask, question)
        try:
            answering.result()
        except KeyboardInterrupt:
            answering.cancel()
            print("\n(stopped)", file=sys.stderr)  # noqa: T201
        except RagError as error:
            failed = True
            print(printable(f"rag: {error.in_full()}"), file=sys.stderr)  # noqa: T201
    return int(failed)


class _Conversation:
    """The messages so far; a question that failed is none of them."""

    def __init__(self, client: AsyncClient, args: argparse.Namespace) -> None:
        self._client = client
        self._args = args
        self._filters = filters(args)
        self._messages: list[Message] = []

    async def ask(self, question: str) -> None:
        """Prints the answer to a question as it is written, then the passages that it cites."""
        asked: Message = {"role": "user", "content": question}
        with own_errors():
            answer = await self._answer([*self._messages, asked][-MESSAGES:])
        self._messages.append(asked)
        if answer.answer:
            self._messages.append({"role": "assistant", "content": answer.answer})
        if self._args.json:
            output.show_at_once(answer, answer_lines.answer, as_json=True)
            return
        for line in (*answer_lines.evidence(answer), *answer_lines.degraded(answer), ""):
            print(printable(line))  # noqa: T201
        remember(answer, self._args)

    async def _answer(self, messages: list[Message]) -> AnswerEvent:
        written = ""
        retracted: list[str] = []
        async with self._client.stream(
            messages=messages,
            collection=self._args.collection,
            top_k=self._args.top_k,
            filters=self._filters,
            priority="interactive",
        ) as events:
            async for event in events:
                if isinstance(event, TokenEvent):
                    written += event.text
                    self._print(plain(event.text), end="")
                elif isinstance(event, RetractEvent):
                    retracted.append(plain(written[event.start : event.end]))
                elif isinstance(event, AnswerEvent):
                    answer = event
        if written:
            self._print("\n")
        for sentence in retracted:
            self._print(f"No passage supports: “{sentence.strip()}”\n")
        return answer

    def _print(self, text: str, *, end: str = "\n") -> None:
        if not self._args.json:
            print(printable(text), end=end, flush=True)  # noqa: T201


def _lines() -> Iterator[str]:
    """Yields the lines of standard input that are not blank; Ctrl-C at the prompt is its end."""
    prompt = _PROMPT if sys.stdin.isatty() else ""
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        while True:
            if line := text_of(input(prompt)).strip():
                yield line


@contextlib.contextmanager
def _history() -> Iterator[None]:
    """Lets the arrow keys recall questions, of earlier conversations, too."""
    if not sys.stdin.isatty():
        yield
        return
    import readline

    file = state_file(_HISTORY)
    if file.exists():
        readline.read_history_file(file)
    readline.set_history_length(_HISTORY_LINES)
    try:
        yield
    finally:
        try:
            write_private(file, "")  # readline keeps the mode of a file that is there
            readline.write_history_file(file)
        except OSError as error:
            print(f"rag: the questions are not kept: {file}: {error.strerror}.", file=sys.stderr)  # noqa: T201
