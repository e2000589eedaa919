"""What is measured of an experiment, beside what the paper prints and what others got."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, stdev
from typing import Any

from keras_resnet.evaluation.result import Evaluation
from keras_resnet.evaluation.scores import average, load_scores
from keras_resnet.paper.experiments import Net
from keras_resnet.paper.folders import read_json
from keras_resnet.paper.numbers import Printed, printed_for, reproductions
from keras_resnet.paper.plan import Plan


@dataclass(frozen=True)
class Row:
    """One network of a table: errors in percent of each measured seed, and the printed row."""

    net: Net
    top1: tuple[float, ...]
    top5: tuple[float, ...]
    images: int
    views: str
    paper: Printed | None

    def to_json(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "network": self.net.network,
            "shortcut": self.net.shortcut,
            "parameters": self.net.architecture.parameters(),
            "top1_errors": list(self.top1),
            "top1_mean": fmean(self.top1) if self.top1 else None,
            "top1_std": stdev(self.top1) if len(self.top1) > 1 else None,
            "top5_errors": list(self.top5),
            "images": self.images,
            "views": self.views,
            "paper": asdict(self.paper) if self.paper else None,
            "reproductions": [
                asdict(r) for r in reproductions(self.net.network, self.net.shortcut, self.views)
            ],
        }


def rows(plan: Plan) -> list[Row]:
    """One row per network, in the plan's order; networks that are not measured yet have empty errors."""
    found: dict[tuple[str, str | None], list[dict[str, Any]]] = {}
    nets: dict[tuple[str, str | None], Net] = {}
    for run in plan.runs:
        key = (run.net.network, run.net.shortcut)
        nets.setdefault(key, run.net)
        result = read_json(run.evaluation)
        found.setdefault(key, []).extend([result] if result else [])
    return [
        Row(
            nets[key],
            tuple(result["top1_error"] for result in results),
            tuple(result["top5_error"] for result in results),
            results[0]["images"] if results else 0,
            plan.runs[0].views,
            printed_row(plan.experiment.name, *key),
        )
        for key, results in found.items()
    ]


def printed_row(name: str, network: str, shortcut: str | None) -> Printed | None:
    """The paper's number for it; figures share their networks with the tables on the same data."""
    home = {"figure6": "table6", "figure1": "table6", "figure7": "table6", "figure4": "table2"}
    if name == "table5":  # its single networks stand in other tables
        return printed_for("table6", network, shortcut) or printed_for("table4", network, shortcut)
    return printed_for(home.get(name, name), network, shortcut)


@dataclass(frozen=True)
class Ensemble:
    """Table 5: the average of all measured networks' probabilities against the best of them.

    `best_member` has the lowest top-1 error; `best_top5` is the lowest top-5 error of all members.
    """

    members: tuple[str, ...]
    top1: float
    top5: float
    best_member: str
    best_top1: float
    best_top5: float


def ensemble(plan: Plan) -> Ensemble | None:
    """Combine the scores of the measured runs; None while there are fewer than two.

    Raises:
        UserError: scores are missing or of other images.
    """
    measured = [run for run in plan.runs if run.status == "measured"]
    if len(measured) < 2:
        return None
    files = [run.folder / f"scores-{run.views}.npz" for run in measured]
    parts = [load_scores(file) for file in files]
    singles = [Evaluation.from_scores(part) for part in parts]
    best = min(range(len(parts)), key=lambda i: singles[i].top1_error)
    together = Evaluation.from_scores(average(parts, [str(file) for file in files]))
    return Ensemble(
        tuple(name_of(run.net) for run in measured),
        together.top1_error,
        together.top5_error,
        name_of(measured[best].net),
        singles[best].top1_error,
        min(single.top5_error for single in singles),
    )


def name_of(net: Net) -> str:
    """Its label, with the seed where that is not the first: ResNet-110 (seed 1)."""
    return net.label if net.seed == 0 else f"{net.label} (seed {net.seed})"


def mean_std(values: Sequence[float]) -> str:
    """8.75, or 6.61 ± 0.16 for several seeds, or nothing."""
    if not values:
        return ""
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{fmean(values):.2f} ± {stdev(values):.2f}"
