"""A plan: which networks an experiment trains, on what, how, and in which folders. No TensorFlow."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from keras_resnet.data.sources import Dataset, same_data
from keras_resnet.errors import UsageError
from keras_resnet.paper.experiments import Experiment, Net, Views
from keras_resnet.paper.folders import read_json, result_files
from keras_resnet.recipes import default_recipe, get_recipe

DEFAULT_WORKDIR = "runs/paper"
# The laptop edition: the paper's recipe for CIFAR, shortened in proportion. Digits are never mirrored.
QUICK_RECIPE = "cifar-paper"
QUICK_OVERRIDES: Mapping[str, Any] = {
    "epochs": 15,
    "batch_size": 32,
    # At 0.1 ResNet-56 hardly starts on so few images (17.8 % training error after 540 steps of 64).
    "learning_rate": 0.01,
    "flip": False,
}


@dataclass(frozen=True)
class Conditions:
    """What all networks of an experiment have in common: equal conditions but for the network.

    `skip_limit` is the largest accepted share of unreadable images, of each split; it changes no weights.
    """

    dataset: str
    data_dir: str | None = None
    recipe: str | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    image_size: int | None = None
    precision: str = "float32"
    devices: str = "all"
    hold_out: int = 0
    accumulate: int = 1
    skip_limit: float = 0.05

    @property
    def label(self) -> str:
        """Name of the folder of runs under these conditions: cifar-paper, cifar-fast,epochs=2."""
        quick = quick_conditions(self.precision, self.devices)
        if replace(self, data_dir=None, skip_limit=quick.skip_limit) == quick:
            return "quick" if self.precision == "float32" else f"quick,{self.precision}"
        parts = [self.recipe or "default", *(f"{k}={v}" for k, v in sorted(self.overrides.items()))]
        parts += [f"image-size={self.image_size}"] if self.image_size else []
        parts += [self.precision] if self.precision != "float32" else []
        parts += [f"hold-out={self.hold_out}"] if self.hold_out else []
        parts += [f"accumulate={self.accumulate}"] if self.accumulate > 1 else []
        return ",".join(parts)

    def check(self) -> None:
        """Find a wrong recipe before a process is started with it, and without TensorFlow.

        Raises:
            UsageError: there is no such recipe, or what is changed of it is out of range.
        """
        if {"epochs", "steps"} <= self.overrides.keys():
            raise UsageError("give --epochs or --steps, not both")
        length = {"steps": None} if "epochs" in self.overrides else {}
        replace(get_recipe(self.recipe or ""), **length | dict(self.overrides))


@dataclass(frozen=True)
class PlannedRun:
    """One network to train and test; everything the process that does it needs to know.

    `responses`: its layers' responses (Figure 7) are measured as well.
    """

    net: Net
    conditions: Conditions
    folder: Path
    views: Views
    responses: bool = False

    def to_json(self) -> str:
        """For the command line of that process."""
        return json.dumps(asdict(self) | {"folder": str(self.folder)})

    @classmethod
    def from_json(cls, text: str) -> PlannedRun:
        """The inverse of `to_json`."""
        data = json.loads(text)
        data["net"], data["conditions"] = Net(**data["net"]), Conditions(**data["conditions"])
        return cls(**data | {"folder": Path(data["folder"])})

    @property
    def evaluation(self) -> Path:
        """The file with the test errors."""
        return self.folder / f"evaluation-{self.views}.json"

    @property
    def status(self) -> str:
        """`missing`, `begun` or `measured`."""
        if all((self.folder / name).exists() for name in result_files(self.views, self.responses)):
            return "measured"
        return "begun" if (self.folder / "run.json").exists() else "missing"


@dataclass(frozen=True)
class Plan:
    """The runs of an experiment, the smallest network first, from all its seeds.

    So that means over seeds of small networks do not wait for ResNet-1202.
    """

    experiment: Experiment
    conditions: Conditions
    runs: tuple[PlannedRun, ...]

    @property
    def folder(self) -> Path:
        """Where its runs are."""
        return self.runs[0].folder.parent


def make_plan(
    experiment: Experiment,
    dataset: Dataset,
    conditions: Conditions,
    *,
    workdir: str | Path = DEFAULT_WORKDIR,
    seeds: int | None = None,
    quick: bool = False,
    only: Sequence[str] | None = None,
) -> Plan:
    """Say what to train for an experiment on a data set.

    Args:
        experiment: the table or figure.
        dataset: opened; must be what `conditions.dataset` names.
        conditions: for all networks alike; without a recipe, the default one for network and data.
        workdir: where run folders go: `WORKDIR/DATASET/CONDITIONS/NETWORK-seedN`.
        seeds: train from that many seeds each.
        quick: only the laptop edition's depths.
        only: only these of its networks.

    Raises:
        UsageError: nothing is trained for it, it cannot be done on these images, it has no such network, the
            recipe is wrong, or the runs that are there were trained on other data of that name.
    """
    if experiment.measure == "none":
        raise UsageError(
            f"{experiment.name} is drawn from the descriptions of the networks: nothing to train"
        )
    small = dataset.is_small
    nets = experiment.nets(small, seeds=seeds, quick=quick)
    if only:
        known = {net.network for net in nets}
        if strange := sorted(set(only) - known):
            raise UsageError(
                f"{experiment.name} has no {', '.join(strange)}; it has {', '.join(sorted(known))}"
            )
        nets = tuple(net for net in nets if net.network in only)
    views: Views = "single" if small else experiment.views
    side = conditions.image_size or nets[0].architecture.default_image_size
    if views == "10-crop" and dataset.image_shape is not None and dataset.image_shape[:2] == (side, side):
        raise UsageError(
            f"{experiment.name} is tested with ten crops, which are all the same of whole images of {side} "
            f"pixels: choose a smaller --image-size, such as {round(side * 224 / 256)}"
        )
    runs = []
    for net in nets:
        recipe = conditions.recipe or default_recipe(net.architecture, dataset.kind, dataset.images("train"))
        own = replace(conditions, recipe=recipe)
        own.check()
        folder = Path(workdir) / dataset.slug / own.label / net.folder
        runs.append(PlannedRun(net, own, folder, views, experiment.measure == "responses"))
    for run in runs:
        _require_same_data(run.folder, dataset)
    runs.sort(key=lambda run: (run.net.architecture.multiply_adds(), run.net.folder))
    return Plan(experiment, conditions, tuple(runs))


def _require_same_data(folder: Path, dataset: Dataset) -> None:
    """Folders called photos/ are common, and their runs go to folders of one name."""
    record = read_json(folder / "run.json") or {}
    trained = record.get("settings", {}).get("dataset", dataset.name)
    if not same_data(trained, dataset.name):
        raise UsageError(
            f"the runs in {folder.parent} are on {trained}, not on {dataset.name}: name another --workdir"
        )


def quick_conditions(precision: str = "float32", devices: str = "all") -> Conditions:
    """The laptop edition: digits, the paper's optimiser, 15 epochs with its two drops of the rate."""
    return Conditions(
        "digits", recipe=QUICK_RECIPE, overrides=QUICK_OVERRIDES, precision=precision, devices=devices
    )
