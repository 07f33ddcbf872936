"""Language models on a server with OpenAI's chat completions API."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from typing import Any

import openai
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletionChunk

from generation.models.openai_events import EventClient
from generation.sanitizing import without_halves
from rag.errors import BusyError, InputError, RagError, UpstreamError
from rag.privacy.redaction import masked, scrubbed
from rag.telemetry.trace import trace_headers
from rag.types import FinishReason, Message, Piece, Sampling, Usage

CONNECT_SECONDS = 5.0
BYTES_PER_TOKEN = 2
"""UTF-8 bytes of a token, for characters outside ASCII."""
TOKENS_PER_MESSAGE = 8
"""Tokens that a chat template puts around a message: role and separators."""
CHARS_PER_TOKEN = 128
"""Characters of a token, at most: the longest in common vocabularies is a run of spaces. A model
that writes more does not end."""
MAX_WAIT_SECONDS = 120.0
"""Longest Retry-After in seconds: OpenAI's clients ignore longer ones."""
_MAX_CHARS = 300
"""Characters of a server's own words that go into a message."""
_ASCII_TOKEN = re.compile(r"[A-Za-z]{1,4}|[!-@\[-`{-~]|\s{2,}")
_TOO_LONG = re.compile(
    r"context.?(?:length|window|size)|(?:prompt|input)\b.*too long|too many tokens", re.IGNORECASE
)
_BROKEN = {"RemoteProtocolError", "ReadError", "WriteError"}
"""Names of exceptions: the client takes them from httpx2, its older versions from httpx."""
_REFUSALS = (400, 413, 422)
_ENDS: Mapping[str, FinishReason] = {"stop": "stop", "length": "length"}


class OpenAIModel:
    """`ChatModel` on a server: vLLM, SGLang, Ollama, llama.cpp, or a hosted one.

    An error is not retried here: a caller has another model, or a client that asks again.
    """

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str | None,
        model: str,
        context_tokens: int,
        seconds: float,
    ) -> None:
        """Make a client; nothing is connected yet.

        Args:
            base_url: address of the server, including /v1.
            api_key: key that the server requires, if any.
            model: name of the model on the server.
            context_tokens: context of the model; servers have no common way to report it.
            seconds: longest time without a byte from the server.
        """
        self._model = model
        self._context_tokens = context_tokens
        self._seconds = seconds
        self._api_key = api_key
        self._where = masked(base_url)
        # Nothing from the environment: OPENAI_API_KEY and its like may belong to another server.
        self._client = EventClient(
            base_url=base_url,
            api_key=api_key or "none",
            max_retries=0,
            timeout=openai.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS)),
        )
        self._client.organization = self._client.project = None

    @property
    def name(self) -> str:
        """The model's name on the server."""
        return self._model

    @property
    def context_tokens(self) -> int:
        """The context length in tokens, as it was set."""
        return self._context_tokens

    async def count_tokens(self, messages: Sequence[Message]) -> int:
        """Estimates tokens on the high side: the servers have no common way to count.

        A token for each 4 letters of a word, each digit, each sign, each 2 bytes of characters
        outside ASCII, and 8 for each message.
        """
        return sum(TOKENS_PER_MESSAGE + _estimate(m.content) for m in messages)

    async def stream(
        self, messages: Sequence[Message], *, sampling: Sampling
    ) -> AsyncGenerator[Piece, None]:
        """Yields the text as the server sends it, then a piece with the end's reason and the usage.

        A server may also report its usage so far with each piece.

        Closing it closes the connection, and with that the server ends its work.

        Raises:
            InputError: The prompt is longer than the model's context, or the server refuses
                parameters that come from the request alone, such as a schema.
            BusyError: The server has too many requests.
            UpstreamError: It cannot be reached, refuses, falls silent, or ends half-way.
        """
        ended: FinishReason | None = None
        usage: Usage | None = None
        left = sampling.max_tokens * CHARS_PER_TOKEN
        with self._translated(named=_named(sampling)):
            request = self._request(messages, sampling)
            async with await self._open(request) as chunks:
                async for chunk in chunks:
                    text, end, usage_now = self._read(chunk)
                    ended, usage = end or ended, usage_now or usage
                    left -= len(text)
                    if left < 0:
                        raise self._failed(f"wrote on past {sampling.max_tokens} tokens")
                    if text:
                        yield Piece(text=text, usage=usage)
        if ended is None:
            raise self._failed("stopped half-way through an answer: it gave no finish_reason")
        yield Piece(finish_reason=ended, usage=usage)

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()

    async def _open(self, request: Mapping[str, Any]) -> openai.AsyncStream[ChatCompletionChunk]:
        """Asks once more if the connection broke: a server may close a kept one at any moment."""
        create = self._client.chat.completions.create
        opened: openai.AsyncStream[ChatCompletionChunk]
        try:
            opened = await create(**request)
        except openai.APIConnectionError as error:
            if type(error.__cause__).__name__ not in _BROKEN:
                raise
            opened = await create(**request)
        return opened

    def _request(self, messages: Sequence[Message], sampling: Sampling) -> dict[str, Any]:
        request: dict[str, Any] = {
            "model": sampling.adapter or self._model,
            "messages": [{"role": m.role, "content": m.content} for m in messages],
            "max_tokens": sampling.max_tokens,  # some servers do not know the newer name
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "stream": True,
            "stream_options": {"include_usage": True},
            "extra_headers": trace_headers(),
        }
        if sampling.seed is not None:
            request["seed"] = sampling.seed
        if sampling.stop:
            request["stop"] = list(sampling.stop)
        if sampling.schema is not None:
            schema = {"name": "answer", "schema": dict(sampling.schema), "strict": True}
            request["response_format"] = {"type": "json_schema", "json_schema": schema}
        return request

    def _read(self, chunk: ChatCompletionChunk) -> tuple[str, FinishReason | None, Usage | None]:
        """Returns text, end and usage of one event, whose fields the client has not checked."""
        try:
            choices = [choice for choice in chunk.choices or () if not choice.index]
            text = "".join(choice.delta.content or "" for choice in choices if choice.delta)
            ends = [choice.finish_reason for choice in choices if choice.finish_reason]
            usage = _usage(chunk.usage) if chunk.usage else None
        except (AttributeError, TypeError, OverflowError) as error:
            raise self._malformed(error) from error
        if ends and ends[-1] not in _ENDS:
            raise self._failed(f"ended the answer for another reason: {ends[-1]}")
        return without_halves(text), _ENDS[ends[-1]] if ends else None, usage

    @contextlib.contextmanager
    def _translated(self, *, named: Sequence[str]) -> Iterator[None]:
        """Translates errors; `named` are the caller's parameters, which others may omit."""
        try:
            yield
        except openai.OpenAIError as error:
            raise self._translate(error, named) from error
        except ValueError as error:  # an event that is no JSON, or no UTF-8
            raise self._malformed(error) from error

    def _translate(self, error: openai.OpenAIError, named: Sequence[str]) -> RagError:
        """Translates an error of the client to one that says what to do."""
        if isinstance(error, openai.RateLimitError) and error.code != "insufficient_quota":
            return BusyError(
                f"{self._who} has too many requests. Try again in a moment.",
                retry_after=_retry_after(error),
            )
        if _is_too_long(error):
            return InputError(
                f"The prompt is longer than {self._who} takes. Set generator.context_tokens, now"
                f" {self._context_tokens}, to what it has. It says: {self._words(error)}",
                code="prompt_too_long",
            )
        if named and isinstance(error, openai.BadRequestError | openai.UnprocessableEntityError):
            return InputError(
                f"{self._who} does not take the request, with {', '.join(named)} as asked for."
                f" It says: {self._words(error)}"
            )
        return self._failed(*self._cause(error))

    def _cause(self, error: openai.OpenAIError) -> tuple[str, str]:
        """Returns the cause, as the rest of a sentence, and its code."""
        match error:
            case openai.APITimeoutError():
                text = (
                    f"sent nothing for {self._seconds:g} s: it is overloaded, or generator.timeout"
                    " is too short"
                )
                return text, "model_timeout"
            case openai.APIConnectionError():
                cause = type(error.__cause__ or error).__name__
                text = (
                    f"does not answer, or broke off ({cause}): is it running, and does"
                    " generator.base_url name it?"
                )
                return text, "model_unreachable"
            case openai.AuthenticationError() | openai.PermissionDeniedError():
                # The server's own words may contain a part of the key.
                text = f"refused us ({error.status_code}): see the setting generator.api_key"
                return text, "model_refused"
            case openai.NotFoundError():
                text = (
                    "is not there (404), or its adapter: see the settings generator.model,"
                    " generator.adapters and generator.base_url, which ends in /v1."
                    f" It says: {self._words(error)}"
                )
                return text, "model_unknown"
            case _:
                return f"failed. It says: {self._words(error)}", "model_failed"

    def _malformed(self, error: Exception) -> UpstreamError:
        return self._failed(
            f"sent something else than events of a chat completion ({type(error).__name__}). Does"
            " generator.base_url name a server that speaks OpenAI's chat completions?"
        )

    def _failed(self, text: str, code: str = "model_failed") -> UpstreamError:
        end = "" if text.endswith((".", "?")) else "."
        where = f"It is at {self._where}."
        return UpstreamError(f"{self._who} {text}{end}", code=code, detail=where)

    @property
    def _who(self) -> str:
        return f"The model {self._model}"

    def _words(self, error: openai.OpenAIError) -> str:
        words = " ".join(scrubbed(str(error)).split())
        if self._api_key:
            words = words.replace(self._api_key, "…")
        return words[:_MAX_CHARS]


def _named(sampling: Sampling) -> list[str]:
    """Returns the names of the parameters that come with the request, not from settings."""
    given = {
        "top_p": sampling.top_p != 1,
        "seed": sampling.seed is not None,
        "stop": bool(sampling.stop),
        "response_format": sampling.schema is not None,
    }
    return [name for name, is_given in given.items() if is_given]


def _is_too_long(error: openai.OpenAIError) -> bool:
    """True if the prompt was refused for its length; servers have no common code for it."""
    if not isinstance(error, openai.APIError):
        return False
    refused = not isinstance(error, openai.APIStatusError) or error.status_code in _REFUSALS
    return refused and _TOO_LONG.search(f"{error.code} {error.message}") is not None


def _retry_after(error: openai.APIStatusError) -> float | None:
    """Returns the seconds of the server's Retry-After, two minutes at most; None without one."""
    header = error.response.headers.get("retry-after", "")
    return min(float(header), MAX_WAIT_SECONDS) if re.fullmatch("[0-9]{1,9}", header) else None


def _usage(counted: CompletionUsage) -> Usage:
    """Converts the usage; some servers report -1 for tokens that they did not count."""
    input_tokens = max(0, int(counted.prompt_tokens))
    cached = counted.prompt_tokens_details and counted.prompt_tokens_details.cached_tokens
    return Usage(
        input_tokens=input_tokens,
        output_tokens=max(0, int(counted.completion_tokens)),
        cached_tokens=min(input_tokens, max(0, int(cached or 0))),
    )


def _estimate(text: str) -> int:
    others = len(text.encode(errors="replace")) - len(text.encode("ascii", errors="ignore"))
    return sum(1 for _ in _ASCII_TOKEN.finditer(text)) + math.ceil(others / BYTES_PER_TOKEN)
