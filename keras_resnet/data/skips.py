"""`SkipLog`: which images could not be read, so that a run neither crashes on them nor hides them."""

from __future__ import annotations

import csv
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keras_resnet.errors import UserError, unwrapped


class SkipLog:
    """The names of the unreadable images a run met, each once, and the share of them it accepts.

    The pipelines add names from their own threads while they run; the run's owner calls `check`
    now and then (it costs nothing; or wraps its loop in `watch`), and `write`.

    Args:
        limit: largest accepted share of unreadable images of each split, 0…1. 0.05 is five percent.
    """

    def __init__(self, limit: float = 0.05) -> None:
        self.limit = limit
        self._totals: dict[str, int] = {}
        self._reasons: dict[str, dict[str, str]] = {}  # by split and name
        self._earlier: dict[str, set[str]] = {}  # by split: read from a file and not met since
        self._lock = threading.Lock()

    @property
    def names(self) -> tuple[str, ...]:
        """The unreadable images by name (path, or record of a shard): split by split, in the order met."""
        with self._lock:
            return tuple(dict.fromkeys(name for reasons in self._reasons.values() for name in reasons))

    def expect(self, split: str, images: int) -> None:
        """Say that a pipeline over `images` images of `split` reports here (again is harmless)."""
        with self._lock:
            self._totals[split] = images
            self._reasons.setdefault(split, {})

    def add(self, split: str, name: str, reason: str = "unreadable") -> None:
        """Record one image; a name already recorded changes nothing."""
        with self._lock:
            self._reasons.setdefault(split, {}).setdefault(name, reason)
            self._earlier.get(split, set()).discard(name)

    def check(self) -> None:
        """Raise `UserError` when more than `limit` of a split's images turned out to be unreadable."""
        with self._lock:
            for split, total in self._totals.items():
                reasons, earlier = self._reasons[split], self._earlier.get(split, set())
                met = len(reasons) - len(earlier)
                if met > self.limit * total:
                    name = next(name for name in reasons if name not in earlier)
                    raise UserError(
                        f"{met} of {total} images of split {split!r} are unreadable (first: {name}: "
                        f"{reasons[name]}), more than the accepted {100 * self.limit:g}%: fix the data set, "
                        "or accept more with --skip-limit"
                    )

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Turn an error of a pipeline into one line: `check`'s if it drowned in unreadable images."""
        try:
            with unwrapped():
                yield
        except Exception:
            self.check()
            raise

    def read(self, path: str | Path) -> None:
        """Add what an earlier process wrote to `path`, if anything is there.

        It counts against the limit only where it is met again: it may have been mended since.
        """
        if not Path(path).exists():
            return
        with Path(path).open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            for row in csv.DictReader(file):
                split, name = row.get("split") or "train", row["name"]
                if name not in self._reasons.get(split, {}):
                    self.add(split, name, row["reason"])
                    self._earlier.setdefault(split, set()).add(name)

    def write(self, path: str | Path) -> None:
        """Write `split,name,reason` lines to the CSV file `path`; the file says so too where none was.

        It is replaced as a whole. Names that are not valid UTF-8 are written byte by byte as they are.
        """
        with self._lock:
            rows = [(split, *row) for split, reasons in self._reasons.items() for row in reasons.items()]
        temporary = Path(f"{path}.new")
        with temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
            writer = csv.writer(file)
            writer.writerow(("split", "name", "reason"))
            writer.writerows(rows)
        temporary.replace(path)
