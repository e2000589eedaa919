"""All tables and figures: what each needs, what is measured so far, and the command for the rest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_resnet.paper.estimates import imagenet_hours
from keras_resnet.paper.experiments import EXPERIMENTS, QUICK_DEPTHS, Experiment, Net
from keras_resnet.paper.plan import DEFAULT_WORKDIR


@dataclass(frozen=True)
class Measured:
    """How many of an experiment's networks have been tested in one folder of runs."""

    dataset: str
    conditions: str
    networks: int
    of: int


@dataclass(frozen=True)
class Entry:
    """One table or figure of the list."""

    experiment: Experiment
    measured: tuple[Measured, ...]
    command: str

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
            "measured": [
                {"dataset": m.dataset, "conditions": m.conditions, "networks": m.networks, "of": m.of}
                for m in self.measured
            ],
            "command": self.command,
        }


def overview(workdir: str | Path = DEFAULT_WORKDIR) -> list[Entry]:
    """Every table and figure with what the runs below `workdir` have measured of it."""
    return [
        Entry(experiment, _measured(experiment, Path(workdir)), _command(experiment))
        for experiment in EXPERIMENTS.values()
    ]


def _measured(experiment: Experiment, workdir: Path) -> tuple[Measured, ...]:
    found = []
    for folder in sorted(workdir.glob("*/*")):
        wanted = _wanted(experiment, folder.name.startswith("quick"))
        done = max((sum(_is_tested(folder / net.folder) for net in nets), len(nets)) for nets in wanted)
        if done[0]:
            found.append(Measured(folder.parent.name, folder.name, *done))
    return tuple(found)


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
    if experiment.needs == "ImageNet":
        return f"{command} --dataset imagenet2012"
    return f"{command} --dataset cifar10 --budget 2h" if experiment.needs == "CIFAR-10" else command
