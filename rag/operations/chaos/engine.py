"""`python -m rag.operations.chaos.engine PORT`: a stand-in for a language model's server.

It speaks as much of OpenAI's chat completions as a replica needs, and quotes the sentence of the
passages that has most words of the question, a word at a time. It shows what the loss of a server
does, and says nothing of models.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys

from rag.operations.chaos.proxy import LOOPBACK

MODEL = "stand-in"
WORD_SECONDS = 0.03
"""Seconds from one word to the next: so an answer is under way for a third of a second."""
_PASSAGE = re.compile(r'<passage n="(\d+)">\n(.*?)\n</passage>', re.DOTALL)
_QUESTION = re.compile(r"Question: (.*)")
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


def quote(prompt: str) -> str:
    """Returns the best sentence of a prompt's passages with its marker, or that there is none."""
    asked = set(_words(found[1] if (found := _QUESTION.search(prompt)) else ""))
    sentences = [
        (len(asked & set(_words(line))), line, n)
        for n, text in _PASSAGE.findall(prompt)
        for line in text.splitlines()
    ]
    if not sentences:
        return "The passages do not say."
    _, best, n = max(sentences, key=lambda each: each[0])
    return f"{best} [{n}]"


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(found[1]) if (found := _LENGTH.search(head)) else 0
            body = await reader.readexactly(length)
            if head.startswith(b"GET"):
                models = json.dumps({"data": [{"id": MODEL}]}).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(models))
                writer.write(models)
            else:
                await _answer(json.loads(body), writer)
            await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError):
        return
    finally:
        writer.close()


async def _answer(request: dict[str, list[dict[str, str]]], writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n")
    writer.write(b"Transfer-Encoding: chunked\r\n\r\n")
    text = quote("\n".join(message["content"] for message in request["messages"]))
    for word in re.findall(r"\S+\s*", text):
        _send(writer, _event(word, None))
        await writer.drain()
        await asyncio.sleep(WORD_SECONDS)
    _send(writer, _event("", "stop") + b"data: [DONE]\n\n")
    writer.write(b"0\r\n\r\n")


def _event(content: str, end: str | None) -> bytes:
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": end}
    event = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
    return b"data: " + json.dumps({**event, "choices": [choice]}).encode() + b"\n\n"


def _send(writer: asyncio.StreamWriter, part: bytes) -> None:
    writer.write(b"%x\r\n" % len(part) + part + b"\r\n")


async def _main(port: int) -> None:
    server = await asyncio.start_server(_serve, LOOPBACK, port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1])))
