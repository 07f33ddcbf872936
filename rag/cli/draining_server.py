"""A server that ends what it has begun before it stops."""

from __future__ import annotations

import logging
import time
from types import FrameType

import uvicorn

from rag.api.deps import Running
from rag.cli.certificate import Renewal

TICKS = 50
"""Ticks between two looks at the files of the certificate: five seconds."""
_log = logging.getLogger(__name__)


class DrainingServer(uvicorn.Server):
    """Serves until a signal or a notice; then refuses requests, and stops when none is under way.

    It does not wait longer than `seconds`. A second signal stops it at once.
    """

    def __init__(self, config: uvicorn.Config, *, running: Running, seconds: float) -> None:
        """Makes a server.

        Args:
            config: uvicorn's.
            running: the state of the app, which is told.
            seconds: for the requests under way.
        """
        super().__init__(config)
        self._running = running
        self._seconds = seconds
        self._until = 0.0
        self._noticed = self._signalled = False
        self._renewal = Renewal(config)

    def take_notice(self) -> None:
        """Takes note that the machine is about to be taken away; any thread may call it."""
        self._noticed = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begins to drain at the first signal, if it did not before; stops at the second."""
        super().handle_exit(sig, frame)
        if self.started and not self._signalled:
            self._signalled, self.should_exit = True, False
            if not self._running.draining:  # by a notice
                self._drain()

    async def on_tick(self, counter: int) -> bool:
        """Returns True when it is time to stop; called ten times a second."""
        if counter % TICKS == 0:
            self._renewal.look()
        if self._noticed and not self._running.draining:
            self._drain()
        stops = await super().on_tick(counter)
        if not self._running.draining:
            return stops
        is_late = time.monotonic() >= self._until
        return stops or is_late or not self.server_state.tasks

    def _drain(self) -> None:
        self._until = time.monotonic() + self._seconds
        self._running.draining = True
        if count := len(self.server_state.tasks):
            _log.warning(
                "The service stops: %d requests under way have %g s to end; a second signal ends"
                " them at once.",
                *(count, self._seconds),
            )
