"""The validation error after an epoch; a signal may stop it in the middle."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from keras_resnet.data.skips import SkipLog
from keras_resnet.training.engine import Engine


class _StopAsked(Exception):
    """A signal came in the middle of it."""


def validation_error(
    engine: Engine, batches: Iterable[Any], skips: SkipLog, stop_asked: Callable[[], bool]
) -> float | None:
    """Top-1 error in percent, of the averaged weights where there are any; None where a stop was asked for.

    Args:
        engine: whose model is validated.
        batches: every validation image once (`Inputs.validation`).
        skips: where the batches report unreadable images.
        stop_asked: asked before each batch.

    Raises:
        UserError: too many images are unreadable.
    """

    def until_stopped() -> Iterator[Any]:
        for batch in batches:
            if stop_asked():
                raise _StopAsked
            skips.check()
            yield batch
        skips.check()

    try:
        with engine.averaged():
            return engine.evaluate(until_stopped())
    except _StopAsked:
        return None
