"""`python -m benchmarks._load URL CLIENTS SECONDS`: questions in, latencies out.

A load generator that costs little beside what it measures: a connection a client, kept alive,
requests made before the clock starts, answers read by their length and not parsed. JSON with
`questions`, `headers` and `numbered` comes in on standard input; JSON goes out. URL is read if
there are no questions. Bounded by SECONDS and `MOST`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from urllib.parse import urlsplit

import uvloop

MOST, MOST_PER_SECOND = 100_000, 10_000
"""Requests in one run."""
_LENGTH = b"content-length: "


class Load:
    """State shared by the clients: the requests to make, and their results."""

    def __init__(self, requests: Iterator[bytes], *, until: float) -> None:
        self.latencies: list[float] = []
        self.errors: list[str] = []
        self._requests = requests
        self._until = until

    async def client(self, host: str, port: int) -> None:
        """One request after the other; ends with the time, the requests or the connection."""
        reader, writer = await asyncio.open_connection(host, port)
        try:
            while time.perf_counter() < self._until and (request := next(self._requests, None)):
                started = time.perf_counter()
                writer.write(request)
                status = await _answer(reader)
                self.latencies.append((time.perf_counter() - started) * 1e3)
                if status != b"200":
                    self.errors.append(f"status {status.decode()}")
        except (OSError, asyncio.IncompleteReadError) as error:
            self.errors.append(repr(error))
        finally:
            writer.close()


async def _answer(reader: asyncio.StreamReader) -> bytes:
    """Reads one response, of which the status is kept."""
    head = await reader.readuntil(b"\r\n\r\n")
    at = head.lower().index(_LENGTH) + len(_LENGTH)
    await reader.readexactly(int(head[at : head.index(b"\r\n", at)]))
    return head[9:12]


def _requests(
    count: int, path: str, headers: Mapping[str, str], questions: Sequence[str], *, numbered: bool
) -> Iterator[bytes]:
    """If they are numbered, no two questions are alike: none can be answered from a cache."""
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    if not questions:
        yield from repeat(f"GET {path} HTTP/1.1\r\n{head}\r\n".encode(), count)
        return
    head = f"POST {path} HTTP/1.1\r\n{head}Content-Type: application/json\r\n"
    for number in range(count):
        text = questions[number % len(questions)] + (f" {number}" if numbered else "")
        body = json.dumps({"query": text, "top_k": 10}).encode()
        yield f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def load(
    url: str,
    clients: int,
    seconds: float,
    *,
    headers: Mapping[str, str],
    questions: Sequence[str],
    numbered: bool,
) -> dict[str, object]:
    """Latencies in ms, errors, requests a second, and the share of a core that this took."""
    address = urlsplit(url)
    host, port = address.hostname or "", address.port or 80
    count = min(MOST, int(seconds * MOST_PER_SECOND))
    sent = {"Host": address.netloc, **headers}
    ready = list(_requests(count, address.path, sent, questions, numbered=numbered))
    started, cpu = time.perf_counter(), time.process_time()
    run = Load(iter(ready), until=started + seconds)
    await asyncio.gather(*(run.client(host, port) for _ in range(clients)))
    seconds_taken = time.perf_counter() - started
    return {
        "latencies": run.latencies,
        "errors": run.errors,
        "per_second": len(run.latencies) / seconds_taken,
        "client_cpu": (time.process_time() - cpu) / seconds_taken,
    }


def main() -> None:
    """Reads the questions, runs, prints."""
    url, clients, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    found = uvloop.run(load(url, clients, seconds, **json.load(sys.stdin)))
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
