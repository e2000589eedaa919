"""`SkipLog`: which images could not be read, so that a run neither crashes on them nor hides them."""

from __future__ import annotations

import csv
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keras_resnet.errors import UserError


class SkipLog:
    """The names of the unreadable images a run met, each once, and the share of them it accepts.

    The pipelines add names from their own threads while they run; the run's owner calls `check`
    now and then (or wraps its loop in `watch`) and `write` at the end.

    Args:
        limit: largest accepted share of unreadable images, 0…1. 0.05 is five percent.
    """

    def __init__(self, limit: float = 0.05) -> None:
        self.limit = limit
        self._totals: dict[str, int] = {}
        self._reasons: dict[str, str] = {}
        self._lock = threading.Lock()

    @property
    def names(self) -> tuple[str, ...]:
        """The unreadable images by name (path, or record of a shard), in the order met."""
        with self._lock:
            return tuple(self._reasons)

    @property
    def reasons(self) -> dict[str, str]:
        """Why each of them could not be read, by name."""
        with self._lock:
            return dict(self._reasons)

    @property
    def total(self) -> int:
        """Number of images in the splits this log watches."""
        with self._lock:
            return sum(self._totals.values())

    def __contains__(self, name: str) -> bool:
        with self._lock:
            return name in self._reasons

    def expect(self, split: str, images: int) -> None:
        """Say that a pipeline over `images` images of `split` reports here (again is harmless)."""
        with self._lock:
            self._totals[split] = images

    def add(self, name: str, reason: str = "unreadable") -> None:
        """Record one image; a name already recorded changes nothing."""
        with self._lock:
            self._reasons.setdefault(name, reason)

    def copy_to(self, other: SkipLog) -> None:
        """Add everything recorded here to another log."""
        with self._lock:
            reasons = dict(self._reasons)
        for name, reason in reasons.items():
            other.add(name, reason)

    def check(self) -> None:
        """Raise `UserError` when more than `limit` of the images turned out to be unreadable."""
        names, total = self.names, self.total
        if total and len(names) > self.limit * total:
            raise UserError(
                f"{len(names)} of {total} images are unreadable (first: {names[0]}), more than the "
                f"accepted {self.limit:.0%}: mend the data set, or accept more with a higher limit"
            )

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Turn an error of a pipeline that drowned in unreadable images into `check`'s one line."""
        try:
            yield
        except Exception:
            self.check()
            raise

    def read(self, path: str | Path) -> None:
        """Add what an earlier process wrote to `path`, if anything is there."""
        if not Path(path).exists():
            return
        with Path(path).open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                self.add(row["name"], row["reason"])

    def write(self, path: str | Path) -> None:
        """Write `name,reason` lines to the CSV file `path`; the file says so too where none was."""
        with self._lock:
            rows = list(self._reasons.items())
        with Path(path).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("name", "reason"))
            writer.writerows(rows)
