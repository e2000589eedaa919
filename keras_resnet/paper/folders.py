"""Reading run folders back: settings, curves, test errors, responses. No TensorFlow."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from keras_resnet.errors import UserError
from keras_resnet.paper.experiments import Net
from keras_resnet.recipes import recorded
from keras_resnet.training.progress import read_history

RESPONSES = "responses.json"


@dataclass(frozen=True)
class RunFolder:
    """What a run folder holds. Errors in percent; `history` has one row per epoch, as in history.csv.

    `evaluations` are by views, as `one_run.py` wrote them; `responses` as `responses.py` did.
    """

    path: Path
    record: Mapping[str, Any]
    history: Sequence[Mapping[str, float | None]]
    evaluations: Mapping[str, Mapping[str, Any]]
    responses: Mapping[str, Any] | None

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings in run.json; what they or their recipe did not have yet is at its default."""
        settings = self.record["settings"]
        recipe = recorded(settings["recipe"])
        recipe.pop("summary", None)  # words: runs before and after a correction of them are comparable
        return {"split": "train", "val_split": None} | settings | {"recipe": recipe}

    @property
    def net(self) -> Net:
        """The network and its seed."""
        return Net(self.settings["network"], self.settings["shortcut"], self.settings["seed"])

    @property
    def finished(self) -> bool:
        """Whether the training came to its end."""
        return self.record.get("status") == "finished"

    def column(self, name: str) -> list[float]:
        """A column of the history; rows without a value are left out."""
        return [value for row in self.history if (value := row[name]) is not None]

    @property
    def final_training_error(self) -> float:
        """Error on the augmented training images over the last epoch."""
        return self.column("train_error")[-1]

    @property
    def final_validation_error(self) -> float:
        """Error on the validation split (of CIFAR-10: the test set) after the last epoch."""
        return self.column("val_error")[-1]

    @property
    def held_out(self) -> str:
        """What the history calls val_error: "test" where that is the only other split, else "validation"."""
        split, _, _ = str(self.record.get("val_split")).partition("[")  # of a slice such as test[:500]
        return "test" if split == "test" else "validation"

    @property
    def images_per_second(self) -> float:
        """Median over the epochs."""
        return median(self.column("images_per_second"))

    def drops(self) -> list[int]:
        """Steps after which the learning rate was divided by 10; none for schedules that glide."""
        if self.settings["recipe"]["schedule"] not in ("drops", "plateau"):
            return []
        steps, rates = self.column("step"), self.column("learning_rate")
        return [int(steps[i]) for i in range(len(rates) - 1) if rates[i] > 5 * rates[i + 1]]


def read_run(path: str | Path) -> RunFolder:
    """Read the run folder at `path`.

    Raises:
        UserError: it is not a run folder, or its first epoch is not over.
    """
    path = Path(path)
    record = read_json(path / "run.json")
    if record is None or "settings" not in record:
        raise UserError(f"{path} is not a run folder: it has no run.json with settings")
    evaluations = {}
    for file in sorted(path.glob("evaluation-*.json")):
        evaluations[file.stem.removeprefix("evaluation-")] = read_json(file) or {}
    return RunFolder(path, record, read_history(path), evaluations, read_json(path / RESPONSES))


def find_runs(paths: Sequence[str | Path]) -> list[RunFolder]:
    """Read run folders, each once; any other path stands for all run folders below it.

    Raises:
        UserError: there is none.
    """
    runs = []
    for path in map(Path, paths):
        if (path / "run.json").exists():
            runs.append(read_run(path))
            continue
        below = sorted(file.parent for file in path.rglob("run.json")) if path.is_dir() else []
        found = [read_run(folder) for folder in below if (folder / "history.csv").exists()]
        if not found:
            raise UserError(f"no run folder at or below {path}: name what `keras-resnet train` wrote")
        runs += found
    return list({run.path.resolve(): run for run in runs}.values())  # one named twice is not a second seed


def result_files(views: str, responses: bool) -> tuple[str, ...]:
    """The files that make a run measured: its test errors by `views` and, for Figure 7, its responses."""
    evaluation = f"evaluation-{views}.json"
    return (evaluation, RESPONSES) if responses else (evaluation,)


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file, None where there is no file.

    Raises:
        UserError: the file is not readable JSON.
    """
    if not path.exists():
        return None
    try:
        data: dict[str, Any] = json.loads(path.read_text())
    except (ValueError, OSError) as error:
        raise UserError(f"{path} is not readable JSON ({error})") from error
    return data
