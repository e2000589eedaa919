"""What a page consists of, whatever it is written as: sections of paragraphs, tables, plots and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Paragraph:
    """Plain text; `emphasis` sets it off as the answer to the section's question."""

    text: str
    emphasis: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of plain text under a header; columns of numbers are right-aligned.

    `bars`, one of 0…1 per row, are drawn behind the rows where the page can draw.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    bars: Sequence[float] = ()


@dataclass(frozen=True)
class Matrix:
    """Counts [row][column] between things of the same names, such as a confusion matrix.

    Cells are shaded by their share of the row. `corner` says what rows and columns are.
    """

    names: Sequence[str]
    counts: Sequence[Sequence[int]]
    corner: str


@dataclass(frozen=True)
class KeyNumber:
    """A number that a reader looks for first, what it is of, and a note in small print."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class KeyNumbers:
    """The numbers on top of a page."""

    numbers: Sequence[KeyNumber]


@dataclass(frozen=True)
class Folded:
    """A block that opens at a click on `summary`."""

    summary: str
    block: Table


@dataclass(frozen=True)
class Plot:
    """Drawings as SVG that belong together: side by side where there is room, else one below the other.

    What they draw in `plots.INK` takes the page's text colour, light or dark. `name` is that of their
    files where they are written as files.
    """

    svgs: Sequence[str]
    caption: str
    name: str


@dataclass(frozen=True)
class Picture:
    """A small image, the bytes of a PNG or JPEG file, with a line below it."""

    data: bytes
    caption: str

    @property
    def kind(self) -> str:
        """ "jpeg" or "png"."""
        return "jpeg" if self.data.startswith(b"\xff\xd8") else "png"


@dataclass(frozen=True)
class Gallery:
    """Small pictures side by side; `name` is that of their files where they are written as files."""

    pictures: Sequence[Picture]
    name: str
    caption: str = ""


@dataclass(frozen=True)
class Code:
    """Commands or other text in a fixed-width font."""

    text: str


Block: TypeAlias = Paragraph | Table | Matrix | KeyNumbers | Folded | Plot | Gallery | Code


@dataclass(frozen=True)
class Section:
    """A heading and what follows it."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """A whole report; `subtitle` says what of and when."""

    title: str
    subtitle: str
    sections: Sequence[Section]


def is_number(text: str) -> bool:
    """Whether a cell is right-aligned: 8.75, 1,202, 8.75 ± 0.16, 12 %, −, or empty."""
    kept = text.translate(str.maketrans("", "", " ,.±%×-−–+"))
    return not kept or kept.isdigit()


def numeric_columns(table: Table) -> list[bool]:
    """For each column whether all its cells are numbers."""
    return [all(is_number(row[i]) for row in table.rows) for i in range(len(table.header))]
