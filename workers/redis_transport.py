"""Kombu's transport for Redis, with the clock of Redis in place of the worker's.

Kombu notes when a message was taken, and gives out again what was taken more than
`visibility_timeout` seconds ago. It reads both times from the clock of its own machine: a worker
whose clock is ahead gives out what others have in hand. Here both are Redis's own (`TIME`).
"""

from __future__ import annotations

import contextlib
from typing import Any

from kombu.transport import redis, virtual
from kombu.utils import json


class _QoS(redis.QoS):
    """The messages that were taken and are not done."""

    def append(self, message: Any, delivery_tag: str) -> None:
        """Notes that a message is taken now."""
        info = message.delivery_info
        taken = json.dumps(  # type: ignore[no-untyped-call]
            [message._raw, info["exchange"], info["routing_key"]]
        )
        with self.channel.conn_or_acquire() as client, client.pipeline() as pipe:
            pipe.zadd(self.unacked_index_key, {delivery_tag: _now(client)})
            pipe.hset(self.unacked_key, delivery_tag, taken)
            pipe.execute()
        virtual.QoS.append(self, message, delivery_tag)  # type: ignore[no-untyped-call]

    def restore_visible(self, start: object = 0, num: object = None, interval: object = 1) -> None:
        """Gives out again all that was taken too long ago, unless another worker does so.

        It does not use its arguments: `unacked_restore_limit` and `_throttle` are not limited here.
        """
        with (
            self.channel.conn_or_acquire() as client,
            contextlib.suppress(redis.MutexHeld),
            redis.Mutex(client, self.unacked_mutex_key, self.unacked_mutex_expire),
        ):
            until = _now(client) - self.visibility_timeout
            # The oldest last: it is then the next to be taken.
            for tag in client.zrange(self.unacked_index_key, until, 0, desc=True, byscore=True):
                self.restore_by_tag(tag, client)  # type: ignore[no-untyped-call]


def _now(client: Any) -> float:
    """Returns the time of the server, seconds since 1970."""
    seconds, microseconds = client.time()
    return float(seconds + microseconds / 1e6)


class _Channel(redis.Channel):
    QoS = _QoS


class Transport(redis.Transport):
    """The transport of URLs with the scheme `redis` or `rediss`; see `workers.celery_app`."""

    Channel = _Channel
