"""Rows of a benchmark and how they are printed: ours, a peer, their ratio, the goal, whether it is reached.

A ratio above 1 is better for us in every unit: ours / peer where more is better, peer / ours where less is.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

Row = dict[str, Any]
LESS_IS_BETTER = ("s", "ms", "GiB")
COLUMNS = ("case", "ours", "peer", "ratio", "goal", "reached")
NUMBERS = ("ours", "ratio", "goal")  # columns aligned to the right


def row(
    case: str,
    ours: float,
    peer: float,
    peer_name: str,
    unit: str,
    *,
    ratio: float | None = None,
    goal: float | None = None,
    limit: float | None = None,
) -> Row:
    """One comparison.

    Args:
        ratio: the ratio where it is not that of `ours` and `peer`, such as a median over turns.
        goal: the least ratio that was aimed at.
        limit: the most that `ours` may be, in its unit, where the goal is not a ratio.
    """
    if ratio is None:
        ratio = peer / ours if unit in LESS_IS_BETTER else ours / peer
    reached = None
    if goal is not None:
        reached = ratio >= goal
    elif limit is not None:
        reached = ours <= limit
    return {
        "case": case,
        "ours": round(ours, 3),
        "peer": round(peer, 3),
        "peer_name": peer_name,
        "unit": unit,
        "ratio": round(ratio, 3),
        "goal": limit if goal is None else goal,
        "goal_of": "ours" if goal is None and limit is not None else "ratio",
        "reached": reached,
    }


def failure(benchmark: str, reason: str) -> Row:
    """The row of a benchmark that came to no end."""
    return {"case": f"{benchmark} (all of it)", "failed": reason}


def number(value: float) -> str:
    """Three digits, or the whole part."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def cells(row: Row) -> list[str]:
    """What the table says of a row, one text per column."""
    if "failed" in row:
        return [row["case"], "–", "–", "–", "–", "failed"]
    goal = ""
    if row["goal"] is not None:
        goal = f"≥ {row['goal']:g}" if row["goal_of"] == "ratio" else f"≤ {row['goal']:g} {row['unit']}"
    return [
        row["case"],
        f"{number(row['ours'])} {row['unit']}",
        f"{row['peer_name']}: {number(row['peer'])}",
        f"{row['ratio']:.3f}",
        goal,
        {True: "yes", False: "no", None: ""}[row["reached"]],
    ]


def text_table(rows: Sequence[Row]) -> str:
    """For the terminal."""
    lines = [list(COLUMNS), *map(cells, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join("  ".join(map(_align, COLUMNS, line, widths)).rstrip() for line in lines)


def _align(column: str, cell: str, width: int) -> str:
    return cell.rjust(width) if column in NUMBERS else cell.ljust(width)


def markdown_table(rows: Sequence[Row]) -> str:
    """For a page."""
    rules = ["--:" if column in NUMBERS else "---" for column in COLUMNS]
    lines = [list(COLUMNS), rules, *([cell.replace("|", "\\|") for cell in cells(row)] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def say(rows: Iterable[Row]) -> None:
    """Rows as they come, on stderr: stdout is for the answer."""
    for row in rows:
        case, ours, peer, ratio, goal, reached = cells(row)
        aim = f" (goal {goal}: {reached})" if goal else ""
        print(f"{case}: {ours}, {peer}, ratio {ratio}{aim}", file=sys.stderr, flush=True)


def answer(rows: Sequence[Row], as_json: bool) -> None:
    """The end of a benchmark: all rows on stdout."""
    print(json.dumps(rows, indent=1) if as_json else text_table(rows))
