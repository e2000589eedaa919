"""`run.json`: what a run was asked to do, where it ran, and how far it came."""

from __future__ import annotations

import datetime
import json
import platform
import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from keras_resnet.data.loading import CORES
from keras_resnet.errors import UserError
from keras_resnet.saving import RUN_MODEL
from keras_resnet.training.checkpoints import remove_checkpoints, write_atomically
from keras_resnet.training.devices import describe_devices

FILE = "run.json"
SKIPPED = "skipped.csv"
_MEASURED = ("evaluation-*.json", "scores-*.npz", "responses.json")


@dataclass(frozen=True)
class RunResult:
    """How a run ended.

    Attributes:
        workdir: the run folder.
        model: the trained model's `.keras` file, in it.
        steps: how many steps the training had.
        train_error: top-1 error in percent over the last epoch, on the images as training saw them; with
            `keep_best`, over the best epoch.
        val_error: top-1 error in percent on the validation images, of the weights that were saved.
        best_val_error: the lowest validation error of any epoch, in percent.
        images_per_second: training speed in the same epoch.
        skipped: how many images could not be read.
    """

    workdir: Path
    model: Path
    steps: int
    train_error: float
    val_error: float
    best_val_error: float
    images_per_second: float
    skipped: int = 0

    @classmethod
    def of(cls, results: Mapping[str, Any], workdir: Path) -> RunResult:
        """What `run.json` says of a finished run, which may have been moved since."""
        return cls(**{**results, "workdir": workdir, "model": workdir / RUN_MODEL})

    def to_json(self) -> dict[str, Any]:
        """Plain data for JSON."""
        data = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return data | {"workdir": str(self.workdir), "model": str(self.model)}


class RunRecord:
    """The record of one run, written anew at every change of its status.

    Args:
        workdir: the run folder; an existing record is continued.
        strategy: where the run runs.
        writes: whether this worker writes (only the chief does).
        fresh: begin a new record; the old one, readable or not, stays until `forget`.

    Raises:
        UserError: the folder's record is not of a run, or, unless `fresh`, not readable.
    """

    def __init__(
        self, workdir: Path, strategy: tf.distribute.Strategy, writes: bool = True, fresh: bool = False
    ):
        self.path = workdir / FILE
        try:
            found = _read_json(self.path)
        except UserError:
            if not fresh:
                raise
            found = None
        if found is not None and "settings" not in found:
            raise UserError(f"{self.path} does not belong to a run: choose another --workdir")
        self.data: dict[str, Any] = {} if fresh else found or {}
        self.writes = writes
        self._strategy = strategy

    def forget(self) -> None:
        """Remove an older run from the folder (the chief does), to start over there."""
        if self.writes:
            empty(self.path.parent)

    def update(self, status: str, *, error: str | None = None, **values: Any) -> None:
        """Set the status ("running", "interrupted", "failed", "finished") and anything else worth keeping."""
        self.data.setdefault("started", _now())
        self.data |= {
            "status": status,
            "error": error,
            "updated": _now(),
            "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
            "hardware": hardware(self._strategy),
            "versions": {
                "python": platform.python_version(),
                "tensorflow": tf.__version__,
                "keras": keras.__version__,
            },
            **plain(values),
        }
        if self.writes:
            write_atomically(self.path, json.dumps(self.data, indent=1).encode())


def recorded(folder: Path) -> Mapping[str, Any]:
    """What `run.json` says in a run folder, or beside a run's `model.keras`; empty where there is none."""
    folder = folder.parent if folder.name == RUN_MODEL else folder
    return _read_json(folder / FILE) or {}


def recorded_settings(folder: Path) -> Mapping[str, Any]:
    """The settings there."""
    return recorded(folder).get("settings", {})


def skipped_images(count: int, workdir: Path) -> str:
    """The end of a line about a run: how many images could not be read, and where they are listed."""
    return f", {count} unreadable images ({workdir / SKIPPED})" if count else ""


def note_recalibration(workdir: Path) -> None:
    """Write into a run's record that its results are those of the model before it was recalibrated."""
    if data := _read_json(workdir / FILE):
        write_atomically(workdir / FILE, json.dumps(data | {"recalibrated": _now()}, indent=1).encode())


def forget_measurements(workdir: Path) -> None:
    """Remove from a run folder what was measured of a model that is no longer there."""
    for pattern in _MEASURED:
        for path in workdir.glob(pattern):
            path.unlink(missing_ok=True)


def empty(workdir: Path) -> None:
    """Remove a run from its folder, and nothing else that lies there."""
    remove_checkpoints(workdir)
    if (workdir / FILE).exists():  # else these are somebody else's
        for name in ("tensorboard", "profile"):
            shutil.rmtree(workdir / name, ignore_errors=True)
    forget_measurements(workdir)
    for name in (FILE, "history.csv", SKIPPED, RUN_MODEL):
        (workdir / name).unlink(missing_ok=True)


def hardware(strategy: tf.distribute.Strategy) -> dict[str, Any]:
    """What the run ran on, for the record."""
    names = [
        tf.config.experimental.get_device_details(gpu).get("device_name", "GPU")
        for gpu in tf.config.list_physical_devices("GPU")
    ]
    return {
        "devices": describe_devices(strategy),
        "gpus": names,
        "cpu": _cpu_name(),
        "cores": CORES,
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")


def _read_json(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        data: dict[str, Any] = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} is not readable JSON ({error}); restore it, or use --fresh") from error
    return data


def plain(data: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON would give it back (tuples as lists)."""
    plain: dict[str, Any] = json.loads(json.dumps(data))
    return plain


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
