"""Writing a page to a file, in the format that its name or its user asks for."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

from keras_resnet.errors import UsageError, UserError
from keras_resnet.pages.blocks import Page
from keras_resnet.pages.html import render_html
from keras_resnet.pages.markdown import render_markdown

FORMATS = ("html", "markdown")


def require_writable(path: str | os.PathLike[str]) -> Path:
    """Learn before hours of computing, not after, that what comes of them cannot be written to `path`.

    Missing folders are made.

    Raises:
        UserError: it is a folder, or in one that may not be written to.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise UserError(f"cannot write {path}: name a file in a folder that you may write to")
    return path


def write_page(page: Page, path: str | os.PathLike[str], kind: str | None = None) -> Path:
    """Write `page` to `path`; Markdown puts its images into a folder beside it, named NAME_files.

    Args:
        page: what to write.
        path: the file; missing folders are made.
        kind: "html" or "markdown"; None: Markdown for names that end in .md or .markdown, else HTML.

    Raises:
        UsageError: unknown kind.
        UserError: the file cannot be written.
    """
    path = Path(path)
    kind = kind or ("markdown" if path.suffix in (".md", ".markdown") else "html")
    if kind not in FORMATS:
        raise UsageError(f"unknown format {kind!r}: html or markdown")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "html":
            text = render_html(page)
        else:
            files = path.with_name(f"{path.stem}_files")
            text = render_markdown(page, files, quote(files.name))
        path.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    return path
