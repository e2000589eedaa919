"""All tables and figures: what each needs, what is measured so far, and the command for the rest."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from keras_resnet.paper.estimates import imagenet_hours
from keras_resnet.paper.experiments import EXPERIMENTS, QUICK_DEPTHS, Experiment, Net
from keras_resnet.paper.folders import read_json
from keras_resnet.paper.plan import DEFAULT_WORKDIR


@dataclass(frozen=True)
class Measured:
    """How many of an experiment's networks have been tested in one folder of runs.

    `rest` is the command that measures the others there; None where there are none, or where the runs do
    not tell how they were started.
    """

    dataset: str
    conditions: str
    networks: int
    of: int
    rest: str | None = None


@dataclass(frozen=True)
class Entry:
    """One table or figure of the list; `cifar_command` asks the question of one on ImageNet on CIFAR-10."""

    experiment: Experiment
    measured: tuple[Measured, ...]
    command: str
    cifar_command: str | None

    def to_json(self) -> dict[str, Any]:
        """Plain data for JSON."""
        experiment = self.experiment
        nets = experiment.imagenet or experiment.cifar
        return {
            "name": experiment.name,
            "title": experiment.title,
            "question": experiment.question,
            "needs": experiment.needs,
            "networks": [net.folder for net in nets],
            "gpu_hours": round(imagenet_hours(experiment.imagenet)) if experiment.imagenet else None,
            "measured": [asdict(found) for found in self.measured],
            "command": self.command,
            "cifar_command": self.cifar_command,
        }


def overview(workdir: str | Path = DEFAULT_WORKDIR) -> list[Entry]:
    """Every table and figure with what the runs below `workdir` have measured of it."""
    return [
        Entry(
            experiment, _measured(experiment, Path(workdir)), _command(experiment), _cifar_command(experiment)
        )
        for experiment in EXPERIMENTS.values()
    ]


def _measured(experiment: Experiment, workdir: Path) -> tuple[Measured, ...]:
    found = []
    for folder in sorted(workdir.glob("*/*")):
        wanted = _wanted(experiment, folder.name.startswith("quick"))
        done = max((sum(_is_tested(folder / net.folder) for net in nets), len(nets)) for nets in wanted)
        if done[0]:
            rest = _rest(experiment, folder) if done[0] < done[1] else None
            found.append(Measured(folder.parent.name, folder.name, *done, rest))
    return tuple(found)


def _rest(experiment: Experiment, folder: Path) -> str | None:
    """The command that made the newest run in `folder`, for all networks of `experiment`."""
    for record in sorted(folder.glob("*/run.json"), key=lambda path: path.stat().st_mtime, reverse=True):
        words = str((read_json(record) or {}).get("command", "")).split(" ")
        names = [i for i, word in enumerate(words) if word in EXPERIMENTS]
        if words[:2] == ["keras-resnet", "paper"] and names:
            words[names[0]] = experiment.name
            for option in ("--networks", "--output"):  # with their values
                if option in words:
                    del words[words.index(option) : words.index(option) + 2]
            return " ".join(word for word in words if word not in ("--show", "--json"))
    return None


def _wanted(experiment: Experiment, quick: bool) -> list[tuple[Net, ...]]:
    """The networks for small pictures and those for large ones: a folder has either."""
    kinds = [experiment.cifar, experiment.imagenet]
    if quick:
        kinds = [tuple(net for net in nets if net.architecture.depth in QUICK_DEPTHS) for nets in kinds]
    return kinds


def _is_tested(folder: Path) -> bool:
    return any(folder.glob("evaluation-*.json"))


def _command(experiment: Experiment) -> str:
    command = f"keras-resnet paper {experiment.name}"
    if experiment.imagenet:
        return f"{command} --dataset imagenet2012 --budget 24h"
    return f"{command} --dataset cifar10 --budget 2h" if experiment.cifar else command


def _cifar_command(experiment: Experiment) -> str | None:
    both = experiment.imagenet and experiment.cifar
    return f"keras-resnet paper {experiment.name} --dataset cifar10 --budget 2h" if both else None
