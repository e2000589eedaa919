"""What a person sees of a run: a bar on a terminal, plain lines elsewhere, history.csv, TensorBoard."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from keras_resnet.errors import UserError
from keras_resnet.training.checkpoints import write_atomically

COLUMNS = (
    "step",
    "epoch",
    "learning_rate",
    "train_loss",
    "train_error",
    "val_error",
    "images_per_second",
    "waiting",
)
PLAIN_LINE_EVERY = 30.0  # seconds, where stderr is not a terminal


class History:
    """`history.csv`: one row per epoch, errors in percent, `waiting` the share of time spent on data."""

    def __init__(self, workdir: Path, until_step: int):
        self.path = workdir / "history.csv"
        self.rows: list[dict[str, str]] = []
        if self.path.exists():
            with self.path.open(newline="") as file:
                rows = list(csv.DictReader(file))
            # A killed run may have logged an epoch that its last checkpoint does not hold.
            self.rows = [row for row in rows if int(row["step"]) <= until_step]

    def add(self, values: Mapping[str, Any]) -> None:
        """Append a row and write the file."""
        # A run that ended after the row and before its checkpoint has the epoch again.
        self.rows = [row for row in self.rows if int(row["step"]) < values["step"]]
        self.rows.append({name: _short(values[name]) for name in COLUMNS})
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_atomically(self.path, text.getvalue().encode())


class TensorBoard:
    """Scalars of every epoch for TensorBoard, under `DIR/tensorboard`."""

    def __init__(self, workdir: Path):
        import tensorflow as tf

        self._summary = tf.summary
        self._writer = tf.summary.create_file_writer(str(workdir / "tensorboard"))

    def add(self, values: Mapping[str, Any]) -> None:
        """Write one point of every curve."""
        with self._writer.as_default(step=values["step"]):
            for name in COLUMNS[2:]:
                self._summary.scalar(name, values[name])
        self._writer.flush()


class _Console(Console):
    """stderr, whether anybody reads it or not: a run does not end with the reader of its output."""

    def __init__(self, quiet: bool):
        super().__init__(stderr=True, highlight=False, quiet=quiet)

    def on_broken_pipe(self) -> None:
        """Rich would end the process."""
        self.quiet = True


def say(line: str, quiet: bool = False) -> None:
    """Print one line on stderr."""
    _Console(quiet).print(line, markup=False, soft_wrap=True)


class Reporter:
    """Progress on stderr: images/s, waiting share, peak memory, time left."""

    def __init__(self, total_steps: int, first_step: int, quiet: bool = False):
        self.total_steps = total_steps
        self.console = _Console(quiet)
        self._began, self._first_step = time.perf_counter(), first_step
        self._last_line = self._began
        self._bar: Progress | None = None
        if self.console.is_terminal and not quiet:
            self._bar = Progress(
                TextColumn("step {task.completed:,.0f} of {task.total:,.0f}"),
                BarColumn(bar_width=24),
                TextColumn("{task.description}"),
                console=self.console,
                transient=True,
            )
            self._task = self._bar.add_task("", total=total_steps, completed=first_step)
            self._bar.start()

    def say(self, line: str) -> None:
        """Print one line above the bar."""
        self.console.print(line, markup=False, soft_wrap=True)

    def update(
        self,
        step: int,
        *,
        loss: float,
        error: float,
        images_per_second: float,
        waiting: float,
        memory: int,
    ) -> None:
        """Tell where the run is; `error` in percent, `waiting` a share of 1, `memory` in bytes."""
        now = time.perf_counter()
        left = (now - self._began) / max(1, step - self._first_step) * (self.total_steps - step)
        text = (
            f"loss {loss:.3f}, train error {error:.1f} %, {images_per_second:,.0f} images/s, "
            f"waiting {100 * waiting:.0f} %, {memory / 2**30:.1f} GiB, {duration(left)} left"
        )
        if self._bar is not None:
            self._bar.update(self._task, completed=step, description=text)
        elif now - self._last_line > PLAIN_LINE_EVERY:
            self._last_line = now
            self.say(f"step {step:,} of {self.total_steps:,}: {text}")

    def epoch(self, values: Mapping[str, Any], epochs: float, more: str = "") -> None:
        """One line for an epoch that is over, and what `more` there is to say."""
        self.say(
            f"epoch {values['epoch']:.4g} of {epochs:.4g}: loss {values['train_loss']:.4f}, "
            f"train error {values['train_error']:.2f} %, validation error {values['val_error']:.2f} %, "
            f"rate {values['learning_rate']:.4g}, "
            f"{values['images_per_second']:,.0f} images/s, waiting {100 * values['waiting']:.0f} %{more}"
        )

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def duration(seconds: float) -> str:
    """1:05 for 65 seconds, 2:00:00 for two hours."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def read_history(workdir: Path) -> list[dict[str, float | None]]:
    """The rows of a run's `history.csv`, as numbers (None where a cell is empty).

    Raises:
        UserError: the folder has no history.
    """
    path = workdir / "history.csv"
    if not path.exists():
        raise UserError(
            f"{workdir} has no history.csv: it is not a run folder, or its first epoch is not over"
        )
    with path.open(newline="") as file:
        return [{k: float(v) if v else None for k, v in row.items()} for row in csv.DictReader(file)]


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
