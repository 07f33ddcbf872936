"""`python -m benchmarks._fake_engines SECONDS …`: servers with OpenAI's API, which only sleep.

For each of SECONDS there is one, whose first token comes after that time, give or take a fifth. It
prints their URLs.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from functools import partial

import uvloop

TOKENS = 8
_MODELS = b'{"data": [{"id": "tiny"}]}'


def _event(content: str | None, end: str | None) -> bytes:
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": end}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


_TOKEN, _END = _event("word ", None), _event(None, "stop") + b"data: [DONE]\n\n"


async def _serve(
    seconds: float, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            fields = dict(
                line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line
            )
            await reader.readexactly(int(fields.get(b"content-length", 0)))
            if head.startswith(b"GET"):
                size = f"Content-Length: {len(_MODELS)}\r\n\r\n".encode()
                writer.write(b"HTTP/1.1 200 OK\r\n" + size + _MODELS)
                continue
            await asyncio.sleep(seconds * random.uniform(0.8, 1.2))
            kind = b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
            writer.write(b"HTTP/1.1 200 OK\r\n" + kind)
            for part in (*[_TOKEN] * TOKENS, _END):
                writer.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
            writer.write(b"0\r\n\r\n")
            await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError):
        return
    finally:
        writer.close()


async def _main(times: list[float]) -> None:
    servers = [await asyncio.start_server(partial(_serve, each), "127.0.0.1", 0) for each in times]
    ports = [server.sockets[0].getsockname()[1] for server in servers]
    print(*(f"http://127.0.0.1:{port}/v1" for port in ports), flush=True)
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    uvloop.run(_main([float(each) for each in sys.argv[1:]]))
