"""All tables and figures: what each needs, what is measured so far, and the command for the rest."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from keras_resnet.paper.estimates import cifar_hours, imagenet_hours
from keras_resnet.paper.experiments import EXPERIMENTS, Experiment
from keras_resnet.paper.folders import read_json, result_files
from keras_resnet.paper.plan import DEFAULT_WORKDIR


@dataclass(frozen=True)
class Measured:
    """How many of an experiment's runs, further seeds among them, have been measured in one folder of runs.

    `rest` is the command that measures the others there; None where there are none, or where the runs do
    not tell how they were started.
    """

    dataset: str
    conditions: str
    runs: int
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
            "cpu_hours": round(cifar_hours(experiment.nets(True))) if experiment.cifar else None,
            "measured": [asdict(found) for found in self.measured],
            "command": self.command,
            "cifar_command": self.cifar_command,
        }


def overview(workdir: str | Path = DEFAULT_WORKDIR) -> list[Entry]:
    """Every table and figure with what the runs below `workdir` have measured of it."""
    commands = {folder: _newest_command(folder) for folder in sorted(Path(workdir).glob("*/*"))}
    return [
        Entry(experiment, _measured(experiment, commands), _command(experiment), _cifar_command(experiment))
        for experiment in EXPERIMENTS.values()
    ]


def _measured(experiment: Experiment, commands: Mapping[Path, Sequence[str]]) -> tuple[Measured, ...]:
    found = []
    for folder, command in commands.items():
        counts = []  # small images or large ones: a folder has either
        if experiment.cifar:
            counts.append(_counts(experiment, folder, _seeds(command), small=True))
        if experiment.imagenet:
            counts.append(_counts(experiment, folder, _seeds(command), small=False))
        tested, done, of = max(counts, default=(0, 0, 0))
        if tested:
            rest = _rest(experiment, command) if done < of else None
            found.append(Measured(folder.parent.name, folder.name, done, of, rest))
    return tuple(found)


def _counts(experiment: Experiment, folder: Path, seeds: int | None, *, small: bool) -> tuple[int, int, int]:
    """Runs of the experiment in `folder`: tested by its views, measured (Figure 7: responses too), of all."""
    nets = experiment.nets(small, seeds=seeds, quick=folder.name.startswith("quick"))
    views = "single" if small else experiment.views
    files = result_files(views, experiment.measure == "responses")
    there = [[(folder / net.folder / name).exists() for name in files] for net in nets]
    return sum(found[0] for found in there), sum(map(all, there)), len(nets)


def _newest_command(folder: Path) -> list[str]:
    """The words of the `keras-resnet paper` that made the newest run in `folder`; none if none did."""
    for record in sorted(folder.glob("*/run.json"), key=lambda path: path.stat().st_mtime, reverse=True):
        words = _words(str((read_json(record) or {}).get("command", "")))
        if words[:2] == ["keras-resnet", "paper"] and set(words) & set(EXPERIMENTS):
            return words
    return []


def _words(command: str) -> list[str]:
    """The words of a command line, `--option=value` as two."""
    try:
        words = shlex.split(command)
    except ValueError:  # an apostrophe in the name of a folder, recorded without quotes
        words = command.split()
    return [part for word in words for part in (word.split("=", 1) if word.startswith("--") else [word])]


def _seeds(command: Sequence[str]) -> int | None:
    """From how many seeds the command trains each network; None: from as many as the paper did."""
    for option, value in pairwise(command):
        if option == "--seeds" and value.isdecimal():
            return int(value)
    return None


def _rest(experiment: Experiment, command: Sequence[str]) -> str | None:
    """The command that made a run, for all networks of `experiment`."""
    if not command:
        return None
    words = list(command)
    words[next(i for i, word in enumerate(words) if word in EXPERIMENTS)] = experiment.name
    for option in ("--networks", "--output"):  # with their values
        if option in words:
            del words[words.index(option) : words.index(option) + 2]
    if experiment.imagenet and not {"--dataset", "--quick"} & set(words):
        words += ["--dataset", "digits"]  # without data it would be shown as printed
    return shlex.join(word for word in words if word not in ("--show", "--json"))


def _command(experiment: Experiment) -> str:
    command = f"keras-resnet paper {experiment.name}"
    if experiment.imagenet:
        return f"{command} --dataset imagenet2012 --budget 24h"
    return f"{command} --dataset cifar10 --budget 2h" if experiment.cifar else command


def _cifar_command(experiment: Experiment) -> str | None:
    both = experiment.imagenet and experiment.cifar
    return f"keras-resnet paper {experiment.name} --dataset cifar10 --budget 2h" if both else None
