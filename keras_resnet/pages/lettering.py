"""Text on pictures, in a font that has letters beyond ASCII where the machine has one."""

from __future__ import annotations

import unicodedata
from typing import Any

from PIL import ImageFont


def font(size: int) -> Any:
    """DejaVu Sans, or Pillow's own, which has hardly more than ASCII."""
    try:
        return ImageFont.truetype("DejaVuSans.ttf", size)
    except OSError:
        return ImageFont.load_default(size)


def composed(text: str) -> str:
    """The text with one character for a letter and its accent; a Mac's names of folders have two."""
    return unicodedata.normalize("NFC", text)
