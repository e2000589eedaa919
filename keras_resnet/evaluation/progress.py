"""How far an evaluation is: a bar on a terminal, one line per minute elsewhere; always on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LINE_EVERY = 60.0  # seconds between lines where stderr is a file

Progress = Callable[[int], object]  # called with the number of images just done


@contextmanager
def progress(title: str, total: int, done: int = 0, *, show: bool = True) -> Iterator[Progress]:
    """Show progress over `total` images, of which `done` are done already, while the block runs."""
    if not show:
        yield lambda images: None
    elif sys.stderr.isatty():
        with _bar(title, total, done) as advance:
            yield advance
    else:
        yield _lines(title, total, done)


@contextmanager
def _bar(title: str, total: int, done: int) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar
    from rich.progress import Task as BarTask
    from rich.text import Text

    class Speed(ProgressColumn):
        def render(self, task: BarTask) -> Text:
            return Text(f"{task.speed:.0f} images/s" if task.speed else "")

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Speed())
    with Bar(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total, completed=done)
        yield lambda images: bar.advance(task, images)


def _lines(title: str, total: int, done: int) -> Progress:
    started = last = time.monotonic()
    before = done

    def advance(images: int) -> None:
        nonlocal done, last
        done += images
        now = time.monotonic()
        if now - last >= LINE_EVERY:
            last = now
            rate = (done - before) / (now - started)
            print(f"{title}: {done}/{total} images, {rate:.1f} images/s", file=sys.stderr, flush=True)

    return advance
