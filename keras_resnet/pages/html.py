"""A page as one HTML file without anything outside it: for a phone or a screen, light or dark."""

from __future__ import annotations

import base64
from html import escape

from keras_resnet.pages.blocks import (
    Block,
    Code,
    Folded,
    Gallery,
    KeyNumbers,
    Matrix,
    Page,
    Paragraph,
    Plot,
    Table,
    numeric_columns,
)
from keras_resnet.pages.plots import INK

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #59636e; --paper: #ffffff; --line: #d8dee4;
  --shade: #f4f6f8; --accent: #0a58ca; --right: 38 128 80; --wrong: 196 62 42; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9aa5b1; --paper: #14181d;
  --line: #343b43; --shade: #1d232a; --accent: #6cb0ff; --right: 92 190 136; --wrong: 240 120 96; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 60rem; padding: 1.25rem 1rem 4rem; background: var(--paper);
  color: var(--ink); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0.5rem 0 0.25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 0.75rem; padding-bottom: 0.3rem;
  border-bottom: 1px solid var(--line); }
p { margin: 0.6rem 0; overflow-wrap: anywhere; }
.subtitle, figcaption { color: var(--soft); font-size: 0.9rem; }
.answer { border-left: 4px solid var(--accent); background: var(--shade); padding: 0.6rem 0.9rem; }
nav { display: flex; flex-wrap: wrap; gap: 0.3rem 1rem; margin: 1rem 0; font-size: 0.95rem; }
a { color: var(--accent); }
/* Shadows at the edges while there is more to scroll to: the covers move with the table. */
.scroll { overflow-x: auto; margin: 0.4rem 0 1rem; background:
  linear-gradient(to right, var(--paper) 40%, transparent) 0 / 2.5rem 100% local no-repeat,
  linear-gradient(to left, var(--paper) 40%, transparent) 100% / 2.5rem 100% local no-repeat,
  linear-gradient(to right, var(--line), transparent) 0 / 1rem 100% no-repeat,
  linear-gradient(to left, var(--line), transparent) 100% / 1rem 100% no-repeat; }
table { border-collapse: collapse; font-size: 0.92rem; min-width: 50%; }
th, td { padding: 0.32rem 0.9rem 0.32rem 0; text-align: left; vertical-align: top; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
th { font-weight: 600; white-space: normal; vertical-align: bottom; }
.n { text-align: right; font-variant-numeric: tabular-nums; }
td.bar { width: 40%; min-width: 5rem; vertical-align: middle; }
td.bar div { height: 0.8rem; min-width: 1px; border-radius: 2px; background: var(--accent); }
.matrix { min-width: 0; }
.matrix td { min-width: 2.6rem; padding: 0.2rem 0.4rem; text-align: center; border: 1px solid var(--line); }
.matrix th { padding: 0.2rem 0.4rem; font-weight: 400; color: var(--soft); border: 0; }
.matrix .right { background: rgb(var(--right) / calc(var(--share) * 0.75)); }
.matrix .wrong { background: rgb(var(--wrong) / min(calc(var(--share) * 4), 0.85)); }
.numbers { display: grid; grid-template-columns: repeat(auto-fit, minmax(10rem, 1fr)); gap: 0.75rem; }
.numbers div { padding: 0.6rem 0.9rem; background: var(--shade); border-radius: 6px; }
.numbers p { margin: 0; font-size: 0.9rem; }
.numbers strong { font-size: 1.6rem; font-variant-numeric: tabular-nums; }
summary { cursor: pointer; color: var(--soft); }
figure { margin: 1rem 0; }
.plots { display: flex; flex-wrap: wrap; gap: 0.5rem 1rem; }
.plots > div { flex: 1 1 20rem; min-width: 0; }
.plots svg { display: block; width: 100%; max-width: 44rem; height: auto; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(7.5rem, 1fr)); gap: 0.8rem; }
.gallery figure { margin: 0; }
.gallery img { width: 100%; aspect-ratio: 1; object-fit: contain;
  border: 1px solid var(--line); border-radius: 4px; background: var(--shade); }
.gallery .png { image-rendering: pixelated; }
.gallery figcaption { font-size: 0.8rem; line-height: 1.3; }
pre { background: var(--shade); padding: 0.7rem 0.9rem; overflow-x: auto; font-size: 0.85rem;
  border-radius: 4px; }
@media print { section { break-inside: avoid; } }
"""


def render_html(page: Page) -> str:
    """The page as an HTML document; it loads nothing and runs no script."""
    links = "".join(f'<a href="#s{i}">{escape(section.title)}</a>' for i, section in enumerate(page.sections))
    body = "".join(
        f'<section><h2 id="s{i}">{escape(section.title)}</h2>{"".join(map(_block, section.blocks))}</section>'
        for i, section in enumerate(page.sections)
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(page.title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f'<h1>{escape(page.title)}</h1>\n<p class="subtitle">{escape(page.subtitle)}</p>\n'
        f"<nav>{links}</nav>\n{body}\n</body>\n</html>\n"
    )


def _block(block: Block) -> str:
    if isinstance(block, Paragraph):
        mark = ' class="answer"' if block.emphasis else ""
        return f"<p{mark}>{escape(block.text)}</p>\n"
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Matrix):
        return _matrix(block)
    if isinstance(block, KeyNumbers):
        return _key_numbers(block)
    if isinstance(block, Folded):
        return f"<details><summary>{escape(block.summary)}</summary>{_table(block.block)}</details>\n"
    if isinstance(block, Plot):
        svgs = "".join(f"<div>{svg.replace(INK, 'var(--ink)')}</div>" for svg in block.svgs)
        caption = f"<figcaption>{escape(block.caption)}</figcaption>"
        return f'<figure><div class="plots">{svgs}</div>{caption}</figure>\n'
    if isinstance(block, Gallery):
        return _gallery(block)
    assert isinstance(block, Code)
    return f"<pre>{escape(block.text)}</pre>\n"


def _table(table: Table) -> str:
    marks = [' class="n"' if number else "" for number in numeric_columns(table)]

    def row(cells: object, tag: str) -> str:
        inside = zip(marks, cells, strict=True)  # type: ignore[call-overload]
        return (
            "<tr>" + "".join(f"<{tag}{mark}>{escape(str(cell))}</{tag}>" for mark, cell in inside) + "</tr>"
        )

    # Outside the table, whose width on a phone is not that of the screen.
    caption = f'<p class="subtitle">{escape(table.caption)}</p>' if table.caption else ""
    header = row(table.header, "th")
    rows = [row(cells, "td") for cells in table.rows]
    if table.bars:
        header = _with_cell(header, "<th></th>")
        rows = [
            _with_cell(cells, f'<td class="bar"><div style="width:{share:.1%}"></div></td>')
            for cells, share in zip(rows, table.bars, strict=True)
        ]
    body = "\n".join(rows)
    return (
        f'{caption}<div class="scroll"><table><thead>{header}</thead>\n<tbody>{body}</tbody></table></div>\n'
    )


def _with_cell(row: str, cell: str) -> str:
    return row.removesuffix("</tr>") + cell + "</tr>"


def _matrix(matrix: Matrix) -> str:
    names = [escape(name) for name in matrix.names]
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    rows = []
    for i, (name, counts) in enumerate(zip(names, matrix.counts, strict=True)):
        total = max(1, sum(counts))
        cells = "".join(
            f'<td class="{"right" if i == j else "wrong"}" style="--share:{count / total:.3f}" '
            f'title="{name}, {names[j]}">{count or ""}</td>'
            for j, count in enumerate(counts)
        )
        rows.append(f'<tr><th scope="row">{name}</th>{cells}</tr>')
    return (
        f'<div class="scroll"><table class="matrix"><thead><tr><th>{escape(matrix.corner)}</th>{head}</tr>'
        f"</thead><tbody>{''.join(rows)}</tbody></table></div>\n"
    )


def _key_numbers(block: KeyNumbers) -> str:
    items = "".join(
        f"<div><p>{escape(number.label)}</p><strong>{escape(number.value)}</strong>"
        f'<p class="subtitle">{escape(number.note)}</p></div>'
        for number in block.numbers
    )
    return f'<div class="numbers">{items}</div>\n'


def _gallery(gallery: Gallery) -> str:
    items = "".join(
        f'<figure><img alt="{escape(picture.caption)}" class="{picture.kind}" '
        f'src="data:image/{picture.kind};base64,{base64.b64encode(picture.data).decode()}">'
        f"<figcaption>{escape(picture.caption)}</figcaption></figure>"
        for picture in gallery.pictures
    )
    caption = f'<p class="subtitle">{escape(gallery.caption)}</p>' if gallery.caption else ""
    return f'{caption}<div class="gallery">{items}</div>\n'
