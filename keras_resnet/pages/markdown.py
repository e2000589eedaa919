"""A page as Markdown, with its drawings and pictures as files in a folder beside it."""

from __future__ import annotations

from html import escape
from pathlib import Path

from keras_resnet.pages.blocks import (
    Block,
    Code,
    Folded,
    Gallery,
    KeyNumber,
    KeyNumbers,
    Matrix,
    Page,
    Paragraph,
    Plot,
    Table,
    numeric_columns,
)
from keras_resnet.pages.plots import INK

_INK_ON_ANY_PAPER = "#7a828a"  # grey: readable on white and on black, for the file cannot know


def render_markdown(page: Page, folder: Path, prefix: str) -> str:
    """The page's text; its images are written to `folder` and linked to as `prefix/NAME`."""
    parts = [f"# {_text(page.title)}", _text(page.subtitle)]
    for section in page.sections:
        parts.append(f"## {_text(section.title)}")
        parts += [_block(block, folder, prefix) for block in section.blocks]
    return "\n\n".join(parts) + "\n"


def _block(block: Block, folder: Path, prefix: str) -> str:
    if isinstance(block, Paragraph):
        return f"**{_text(block.text)}**" if block.emphasis else _text(block.text)
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Matrix):
        rows = [(name, *map(str, counts)) for name, counts in zip(block.names, block.counts, strict=True)]
        return _table(Table((block.corner, *block.names), rows))
    if isinstance(block, KeyNumbers):
        return "\n".join(_key_number(number) for number in block.numbers)
    if isinstance(block, Folded):
        return f"<details><summary>{_text(block.summary)}</summary>\n\n{_table(block.block)}\n\n</details>"
    if isinstance(block, Plot):
        links = []
        for number, svg in enumerate(block.svgs, 1):
            name = f"{block.name}-{number}.svg"
            _write(folder / name, svg.replace(INK, _INK_ON_ANY_PAPER).encode())
            links.append(f"![{_text(block.caption)}]({prefix}/{name})")
        return "\n".join([*links, "", _text(block.caption)])
    if isinstance(block, Gallery):
        lines = [_text(block.caption), ""] if block.caption else []
        for number, picture in enumerate(block.pictures):
            name = f"{block.name}-{number + 1}.{picture.kind}"
            _write(folder / name, picture.data)
            lines.append(f"- ![]({prefix}/{name}) {_text(picture.caption)}")
        return "\n".join(lines)
    assert isinstance(block, Code)
    return f"```\n{block.text}\n```"


def _text(text: str) -> str:
    """`text` in one line, to be shown as it is: Markdown takes `<CPU>` for HTML, and shows nothing."""
    return " ".join(escape(text, quote=False).splitlines())


def _key_number(number: KeyNumber) -> str:
    note = f" ({_text(number.note)})" if number.note else ""
    return f"- {_text(number.label)}: **{_text(number.value)}**{note}"


def _table(table: Table) -> str:
    rules = ["--:" if number else ":--" for number in numeric_columns(table)]
    rows = [table.header, rules, *table.rows]
    lines = ["| " + " | ".join(_text(cell).replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([*([_text(table.caption), ""] if table.caption else []), *lines])


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
