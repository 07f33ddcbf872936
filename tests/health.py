"""Requests a server's `/healthz` repeatedly, in a separate process: no other work delays it.

Writes a line for each check, its status and seconds, until its standard input is closed.
"""

from __future__ import annotations

import http.client
import select
import sys
import time

BETWEEN = 0.01
TIMEOUT = 90.0


def main(host: str, port: int) -> None:
    while not select.select([sys.stdin], [], [], BETWEEN)[0]:
        started = time.perf_counter()
        try:
            connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
            connection.request("GET", "/healthz")
            result = str(connection.getresponse().status)
            connection.close()
        except OSError as error:
            result = type(error).__name__
        print(result, time.perf_counter() - started, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
