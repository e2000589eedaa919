"""Ctrl-C and SIGTERM as a request to stop at the next step, not in the middle of one."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from keras_resnet.errors import UserError


class Interrupted(UserError):
    """The run was asked to stop and did, after saving; the exit code is 128 + the signal's number."""

    def __init__(self, message: str, signal_number: int):
        super().__init__(message)
        self.exit_code = 128 + signal_number


class StopRequest:
    """Which signal asked to stop, if any did."""

    signal_number: int | None = None


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Catch SIGINT and SIGTERM for the length of the block; the second one acts as it always did."""
    request = StopRequest()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, frame: FrameType | None) -> None:
        request.signal_number = number
        for caught, handler in before.items():
            signal.signal(caught, handler)

    try:
        for number in before:
            signal.signal(number, handle)
    except ValueError:  # not in the main thread: Python delivers no signals here
        yield request
        return
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
