#!/usr/bin/env bash
# 2026-11-29: Celery 5.6.3, kombu 5.7.0, amqp 5.4.2, Python 3.11.
#
# Expected: send_task(..., retry=False) fails at once where nothing listens at the broker's address.
# Seen: it blocks for about six seconds in each call. `retry` is about publishing; before that, the
# lazy connection is opened by Connection.default_channel, which has a policy of its own: sleeps of
# two seconds between tries, whatever was asked for. ensure_connection(max_retries=0) before the call
# fails in milliseconds.
# Matters: a request handler that is to answer 503 while the broker is away holds its thread for six
# seconds, and a dispatcher that tries four times a second finds the broker six seconds late.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    celery==5.6.3 kombu==5.7.0 amqp==5.4.2 2>/dev/null
cat > "$folder/send.py" <<'PY'
import socket
import time

from celery import Celery
from kombu.exceptions import OperationalError

with socket.create_server(("127.0.0.1", 0)) as taken:
    port = taken.getsockname()[1]  # free again below: nothing listens there
app = Celery(broker=f"amqp://guest:guest@127.0.0.1:{port}//")


def seconds(call):
    started = time.monotonic()
    try:
        call()
    except (OperationalError, OSError) as error:
        return time.monotonic() - started, type(error).__name__
    raise SystemExit("It was sent.")


def checked_first():
    with app.connection_for_write() as connection:
        connection.ensure_connection(max_retries=0)


sent = seconds(lambda: app.send_task("t", retry=False))
checked = seconds(checked_first)
print(f"send_task(retry=False): {sent[0]:.0f} s, ensure_connection: {checked[0]:.1f} s")
raise SystemExit(not (sent[0] > 3 and checked[0] < 1))
PY
"$folder/venv/bin/python" "$folder/send.py" || { echo "It has changed."; exit 1; }
# Output:
#   send_task(retry=False): 6 s, ensure_connection: 0.0 s
