"""Writing a page to a file, in the format that its name or its user asks for."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

from keras_resnet.errors import UsageError, UserError, writing
from keras_resnet.pages.blocks import Page
from keras_resnet.pages.html import render_html
from keras_resnet.pages.markdown import render_markdown

FORMATS = ("html", "markdown")
_ENDINGS = {"": "html", ".html": "html", ".htm": "html", ".md": "markdown", ".markdown": "markdown"}


def require_writable(path: str | os.PathLike[str]) -> Path:
    """Learn before hours of computing, not after, that what comes of them cannot be written to `path`.

    Missing folders are made.

    Raises:
        UserError: it is a folder, or it, or the folder that it is in, may not be written to.
    """
    path = Path(path)
    with writing(path):
        pass
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UserError(f"cannot write {path}: name a file in a folder that you may write to")
    return path


def page_format(path: str | os.PathLike[str], kind: str | None = None) -> str:
    """The format of a page: `kind` where it is given, else what the file's name ends in.

    Raises:
        UsageError: there is no such format, or the name has another ending.
    """
    if kind is None and Path(path).suffix.lower() not in _ENDINGS:
        raise UsageError(f"cannot tell the format of {path}: let its name end in .html or .md")
    kind = kind or _ENDINGS[Path(path).suffix.lower()]
    if kind not in FORMATS:
        raise UsageError(f"unknown format {kind!r}: html or markdown")
    return kind


def require_png(path: str | os.PathLike[str]) -> Path:
    """Learn before any work that `path` is no name for a PNG file, or cannot be written.

    Raises:
        UsageError: its name has another ending.
        UserError: as `require_writable`.
    """
    if Path(path).suffix.lower() != ".png":
        raise UsageError(f"{path} would be a PNG file: let its name end in .png")
    return require_writable(path)


def write_page(page: Page, path: str | os.PathLike[str], kind: str | None = None) -> Path:
    """Write `page` to `path`; Markdown puts its images into a folder beside it, named NAME_files.

    Args:
        page: what to write.
        path: the file; missing folders are made.
        kind: "html" or "markdown"; None: what the file's name ends in, HTML without an ending.

    Raises:
        UsageError: as `page_format`.
        UserError: the file cannot be written.
    """
    path = Path(path)
    kind = page_format(path, kind)
    with writing(path):
        if kind == "html":
            text = render_html(page)
        else:
            files = path.with_name(f"{path.stem}_files")
            text = render_markdown(page, files, quote(files.name))
        path.write_text(text, encoding="utf-8", errors="backslashreplace")
    return path
