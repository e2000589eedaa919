"""Whether a JPEG file holds all of its image: slow, for a look at a data set, not for training."""

from __future__ import annotations

import io
import random
import re

from PIL import Image

_SEGMENT = re.compile(
    rb"\xff+([^\x00\xff])(..)", re.DOTALL
)  # a marker, its letter and the length that follows
_SCAN = b"\xda"
_AFTER_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # any marker that does not belong to a scan's data
_PADDING = bytes(random.Random(0).choices(range(255), k=64))  # no 255: that would begin a marker


def is_complete(contents: bytes) -> bool:
    """Whether the data of a JPEG file reach to the end of its image; True of any other format.

    Decoders take a file that is cut, but closed with an end mark, for a whole one: they paint what is
    missing grey, warn on stderr and return it. So the file is decoded once more with bytes of no meaning
    at the end of its data. In a whole file nobody looks at them; in a cut one they change the image.

    Args:
        contents: the file's bytes.
    """
    if not contents.startswith(b"\xff\xd8\xff"):
        return True
    try:
        return _pixels(contents) == _pixels(_padded(contents))
    except OSError:
        return False


def _pixels(contents: bytes) -> bytes:
    with Image.open(io.BytesIO(contents)) as image:
        return image.tobytes()


def _padded(contents: bytes) -> bytes:
    """Add bytes to the data of each scan (a progressive JPEG has several)."""
    pieces, position = [contents[:2]], 2
    while segment := _SEGMENT.match(contents, position):
        end = segment.start(2) + int.from_bytes(segment[2], "big")
        padding = b""
        if segment[1] == _SCAN:
            marker = _AFTER_SCAN.search(contents, end)
            end, padding = marker.start() if marker else len(contents), _PADDING
        pieces += [contents[position:end], padding]
        position = end
    return b"".join(pieces) + contents[position:]
