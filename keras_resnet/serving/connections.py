"""uvicorn's HTTP/1.1 with what it lacks against clients that hold on: deadlines, a number of connections."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol


def bounded(seconds: float, connections: int) -> type[H11Protocol]:
    """A protocol that closes connections without a whole request head, or that take no answer, in time.

    Args:
        seconds: for a request's head to arrive, and for its client to take what has been sent.
        connections: more at once are closed as they come.
    """

    class Bounded(H11Protocol):
        head: asyncio.TimerHandle | None = None
        answer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > connections:
                transport.abort()
            self._watch_head()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch_head()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            _cancel(self.head, self.answer)

        def pause_writing(self) -> None:
            super().pause_writing()
            self.answer = self.loop.call_later(seconds, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            _cancel(self.answer)

        def _watch_head(self) -> None:
            """Run the clock where no request is at work, without setting it back for a few more bytes."""
            if self.cycle is not None and not self.cycle.response_complete:
                _cancel(self.head)
                self.head = None
            elif self.head is None:
                self.head = self.loop.call_later(seconds, self.transport.abort)

    return Bounded


def _cancel(*timers: asyncio.TimerHandle | None) -> None:
    for timer in timers:
        if timer is not None:
            timer.cancel()
