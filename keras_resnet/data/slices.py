"""Split names with a slice, as TFDS writes them: `train[:45000]`, `train[-10%:]`."""

from __future__ import annotations

import re

from keras_resnet.errors import UsageError

_SPLIT = re.compile(r"(?P<name>[^\[\]]+)(?:\[(?P<start>-?\d+%?)?:(?P<stop>-?\d+%?)?\])?")


def split_name(split: str) -> str:
    """Return the name before the slice: "train" of "train[:45000]".

    Raises:
        UsageError: the slice cannot be read.
    """
    return _parsed(split)["name"]


def split_range(split: str, images: int) -> tuple[int, int]:
    """Return the first index and the one after the last of a split name's slice.

    Args:
        split: "train", "train[:45000]", "train[-5000:]", "train[25%:75%]"; a percentage is rounded
            to the nearest image.
        images: in the whole split.

    Raises:
        UsageError: the slice cannot be read, or selects nothing.
    """
    match = _parsed(split)
    start = _position(match["start"], images, 0)
    stop = _position(match["stop"], images, images)
    if start >= stop:
        raise UsageError(f"split {split!r} selects none of {images} images")
    return start, stop


def _parsed(split: str) -> re.Match[str]:
    match = _SPLIT.fullmatch(split)
    if match is None:
        raise UsageError(f"cannot read split {split!r}: write it like train[:45000] or train[90%:]")
    return match


def _position(text: str | None, images: int, default: int) -> int:
    if text is None:
        return default
    value = round(int(text[:-1]) * images / 100) if text.endswith("%") else int(text)
    return min(max(value + images if text.startswith("-") else value, 0), images)
