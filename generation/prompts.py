"""Builds the prompt of a language model: rules first, passages as data, the question last."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Literal

from jinja2 import FileSystemLoader, StrictUndefined, Template, TemplateError, TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from rag.errors import ConfigError, InputError
from rag.protocols import ChatModel
from rag.text.plain import plain
from rag.text.tags import escape_tags, tag_pattern
from rag.types import Chunk, Hit, Message, Prompt, Revision, Sampling

TEMPLATES = Path(__file__).with_name("templates")
ANSWER = "answer.v1.jinja"
"""The version increases with each change of the text: it tells which rules an answer was written
under."""

_TAGS = tag_pattern("passage")
_TRIED = ({"n": 1, "heading": "Title > Heading", "text": "Text."},)
_BROKEN = (TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


class PromptTemplate:
    """A Jinja file with a block for each message: `system` and `user`.

    It is given `question` and `passages`, each with its marker `n`, a `heading` (title and
    headings) and a `text`, neither of which can close the `<passage>` it stands in; and `schema`,
    the JSON schema for the answer, or none.

    Attributes:
        name: `answer.v1`; for an operator's own file, `answer.` and a digest of it.
    """

    def __init__(self, folder: Path = TEMPLATES) -> None:
        """Reads `answer.v1.jinja` and tries it.

        Raises:
            ConfigError: The template is missing or broken; the message names file and line.
        """
        self._path = folder / ANSWER
        # Templates belong to an operator, but need nothing beyond their variables.
        environment = ImmutableSandboxedEnvironment(
            loader=FileSystemLoader(folder),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            autoescape=False,
        )
        if not self._path.is_file():
            raise ConfigError(
                f"There is no prompt template {self._path}: generator.templates names a folder that"
                f" holds {ANSWER}."
            )
        own = sha256(self._path.read_bytes()).hexdigest()[:12]
        self.name = ANSWER.removesuffix(".jinja") if folder == TEMPLATES else f"answer.{own}"
        try:
            self._template: Template = environment.get_template(ANSWER)
            for passages, schema in ((_TRIED, None), ((), {"type": "object"})):
                for role in ("system", "user"):
                    block = self._block(role, question="Why?", passages=passages, schema=schema)
                    "".join(block)
        except TemplateSyntaxError as error:
            raise self._broken(error, error.lineno, error.filename) from None
        except _BROKEN as error:
            raise self._broken(error, self._line(error)) from None

    def messages(
        self, question: str, hits: Sequence[Hit], schema: Mapping[str, object] | None = None
    ) -> tuple[Message, ...]:
        """Returns question and passages as a chat; passages are numbered by place, from 1."""
        values = {
            "question": escape_tags(question, _TAGS),
            "passages": [_passage(n, hit.chunk) for n, hit in enumerate(hits, start=1)],
            "schema": schema,
        }
        return tuple(
            Message(role=role, content="".join(self._block(role, **values)).strip())
            for role in ("system", "user")
        )

    def _block(self, role: Literal["system", "user"], **values: object) -> Iterator[str]:
        if role not in self._template.blocks:
            raise TemplateSyntaxError(f"it has no block {role!r}", 1)
        return self._template.blocks[role](self._template.new_context(values))

    def _line(self, error: BaseException) -> int:
        """Returns the line of an error in the template file, from the line in its Python code."""
        frames = traceback.extract_tb(error.__traceback__)
        inside = [f.lineno for f in frames if f.filename == str(self._path) and f.lineno]
        return self._template.get_corresponding_lineno(inside[-1]) if inside else 1

    def _broken(self, error: Exception, line: int, file: str | None = None) -> ConfigError:
        place = f"{file or self._path}, line {line}"
        return ConfigError(f"The prompt template {place} is broken: {str(error).rstrip('.')}.")


async def fitting(
    template: PromptTemplate, prompt: Prompt, model: ChatModel, sampling: Sampling
) -> tuple[tuple[Message, ...], int]:
    """Builds the messages with as many of the hits, best first, as fit the model's context.

    Args:
        template: makes the messages.
        prompt: question and passages; passages at the end are left out first.
        model: counts tokens.
        sampling: its `max_tokens` of the model's context are reserved for the answer.

    Returns:
        The messages, and the number of hits in them.

    Raises:
        InputError: Not even the first hit fits.
    """
    hits, reserved = prompt.hits, sampling.max_tokens
    room = model.context_tokens - reserved
    # The most that fit, by bisection: fewer passages never make a longer prompt.
    fit, over = 0, len(hits) + 1
    messages: tuple[Message, ...] = ()
    tried = len(hits)
    while over - fit > 1:
        made = template.messages(prompt.message or prompt.question, hits[:tried], sampling.schema)
        made = (*made, *_revising(prompt.revision))
        if await model.count_tokens(made) <= room:
            fit, messages = tried, made
        else:
            over = tried
        tried = (fit + over) // 2
    if not messages:
        raise InputError(
            f"The question and its best passage do not fit the {model.context_tokens:,} tokens of"
            f" {model.name}, {reserved:,} of which are kept for the answer. Shorten the question,"
            " or change the generator's settings: context_tokens up, max_tokens down.",
            code="prompt_too_long",
        )
    return messages, fit


def _revising(revision: Revision | None) -> tuple[Message, ...]:
    """Returns the answer so far with the claim that was refused, and the objection to it."""
    if revision is None:
        return ()
    refused = revision.refused
    absent = ", ".join(refused.missing)
    why = f"No passage has {absent}." if absent else "The passages do not support it."
    written = f"{revision.kept} {refused.text}".strip()
    go_on = (
        f'Leave out this sentence: "{refused.text}" {why} Write what comes in its place, from the'
        " passages alone and in their own words."
    )
    if revision.kept:
        go_on += f' Go on after: "{revision.kept}"'
    return Message(role="assistant", content=written), Message(role="user", content=go_on)


def _passage(number: int, chunk: Chunk) -> dict[str, object]:
    heading = " > ".join(dict.fromkeys((chunk.title, *chunk.headings)))
    return {
        "n": number,
        "heading": escape_tags(heading, _TAGS),
        "text": escape_tags(plain(chunk.text), _TAGS),
    }
