"""What an experiment found, as data, as text tables and as a plot."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

from keras_resnet.pages.blocks import Table
from keras_resnet.pages.plots import save_png
from keras_resnet.paper import degradation, figures
from keras_resnet.paper.experiments import Experiment
from keras_resnet.paper.folders import RESPONSES, RunFolder, read_json, read_run
from keras_resnet.paper.measured import Row, ensemble, mean_std, name_of, printed_row, rows
from keras_resnet.paper.numbers import printed, reproductions
from keras_resnet.paper.plan import Plan, PlannedRun

INK_ON_WHITE = "#222222"  # of plots in files


def collect(plan: Plan) -> dict[str, Any]:
    """Everything measured so far, as plain data for JSON."""
    found: dict[str, Any] = {
        "experiment": plan.experiment.name,
        "title": plan.experiment.title,
        "question": plan.experiment.question,
        "dataset": plan.conditions.dataset,
        "runs": [
            {"network": run.net.network, "shortcut": run.net.shortcut, "seed": run.net.seed}
            | {"status": run.status, "folder": str(run.folder)}
            for run in plan.runs
        ],
        "rows": [row.to_json() for row in rows(plan)],
    }
    if plan.experiment.measure == "curves":
        comparisons = degradation.compare(trained(plan))
        found["comparisons"] = {kind: asdict(c) for kind, c in comparisons.items()}
        found["summary"] = degradation.summary(comparisons)
    if plan.experiment.measure == "ensemble":
        together = ensemble(plan)
        found["ensemble"] = None if together is None else asdict(together)
    if plan.experiment.measure == "responses":
        found["responses"] = {
            run.net.folder: data["std"] for run in plan.runs if (data := read_json(run.folder / RESPONSES))
        }
    return found


def unmeasured(experiment: Experiment) -> list[Row]:
    """The rows of an experiment on ImageNet without any measurement: what the paper prints."""
    nets = {(net.network, net.shortcut): net for net in experiment.imagenet}
    return [
        Row(net, (), (), 0, experiment.views, printed_row(experiment.name, *key)) for key, net in nets.items()
    ]


def trained(plan: Plan) -> list[RunFolder]:
    """The runs that have curves."""
    return [read_run(run.folder) for run in plan.runs if (run.folder / "history.csv").exists()]


def tables(plan: Plan) -> list[Table]:
    """Measured beside printed, as tables for a terminal or a page."""
    found_rows = rows(plan)
    result = [errors_table(found_rows, plan.conditions.dataset)]
    if plan.experiment.measure == "curves" and (runs := trained(plan)):
        result.insert(0, curves_table(runs))
    if plan.experiment.measure == "ensemble" and (together := ensemble(plan)):
        lines = [
            ("best single network", together.best_top1, together.best_top5),
            (f"ensemble of {len(together.members)}", together.top1, together.top5),
            ("gain, points", together.best_top1 - together.top1, together.best_top5 - together.top5),
        ]
        result.append(
            Table(("", "top-1 error %", "top-5 error %"), [(a, f"{b:.2f}", f"{c:.2f}") for a, b, c in lines])
        )
    if plan.experiment.measure == "responses" and (found := _responses(plan.runs)):
        means = [(label, str(len(stds)), f"{fmean(stds):.3f}") for label, stds in found]
        result.append(Table(("responses", "3×3 layers", "mean standard deviation"), means))
    return result + others_table(plan.experiment, found_rows) + sources_table(found_rows)


def others_table(experiment: Experiment, shown: Sequence[Row]) -> list[Table]:
    """The rows that the paper prints in that table and that none of `shown` stands for, if any.

    Those of other people's methods; for a question of ImageNet asked of small images, all of them.
    """
    own = [row.paper for row in shown]
    rows = [row for row in printed(experiment.name) if row not in own]
    cells = [(row.method, _number(row.top1), _number(row.top5), row.note) for row in rows]
    header = (f"also in the paper, {experiment.needs}", "top-1 error %", "top-5 error %", "")
    return [Table(header, cells)] if cells else []


def errors_table(found: Sequence[Row], dataset: str) -> Table:
    """Test errors by network: measured, printed in the paper, and others' reproductions."""
    table = []
    for row in found:
        paper = row.paper
        best_of = f" (mean {paper.mean:.2f} ± {paper.std:.2f})" if paper and paper.mean else ""
        others = reproductions(row.net.network, row.net.shortcut, row.views)
        table.append(
            (
                row.net.label,
                mean_std(row.top1),
                (_number(paper.top1) + best_of) if paper else "",
                mean_std(row.top5),
                str(len(row.top1)),
                f"{row.net.architecture.parameters():,}",
                ", ".join(f"{r.top1:.2f} ({r.who.split(',')[0]})" for r in others),
            )
        )
    printed_on = "ImageNet" if found and found[0].net.architecture.family == "imagenet" else "CIFAR-10"
    measured_on = f"top-1 error % on {dataset}"
    header = ("network", measured_on, f"paper, {printed_on}", "top-5", "seeds", "parameters", "others")
    return Table(header, table)


def sources_table(found: Sequence[Row]) -> list[Table]:
    """Where the results of others that stand in `errors_table` were published, if any."""
    sources = dict.fromkeys(
        (r.who, r.source)
        for row in found
        for r in reproductions(row.net.network, row.net.shortcut, row.views)
    )
    return [Table(("others", "source"), list(sources))] if sources else []


def curves_table(runs: Sequence[RunFolder]) -> Table:
    """How each training ended."""
    table = [
        (
            run.net.label,
            str(run.net.seed),
            f"{run.column('epoch')[-1]:g}",
            f"{run.final_training_error:.2f}",
            f"{run.final_validation_error:.2f}",
            "yes" if run.finished else "no",
        )
        for run in runs
    ]
    header = ("network", "seed", "epochs", "training error %", f"{runs[0].held_out} error %", "finished")
    return Table(header, table)


def plot(plan: Plan, path: Path) -> Path | None:
    """Draw the experiment to a PNG file; None if nothing is measured yet or there is nothing to draw.

    Raises:
        UserError: matplotlib is not installed, or the file cannot be written.
    """
    measure = plan.experiment.measure
    if measure == "curves" and (runs := trained(plan)):
        return save_png(figures.curves(runs, INK_ON_WHITE), path)
    if measure == "responses" and (found := _responses(plan.runs)):
        return save_png(figures.responses(found, INK_ON_WHITE), path)
    if measure == "errors" and (points := depth_points(rows(plan), plan.conditions.dataset)):
        return save_png(figures.depth_errors(points, INK_ON_WHITE), path)
    return None


def depth_points(
    found: Sequence[Row], dataset: str
) -> list[tuple[str, int, float, float | None, float | None]]:
    """The rows as `figures.depth_errors` wants them; nothing where there are fewer than two depths.

    The paper's errors stand beside them on the paper's data only: a plot invites to compare.
    """
    # The whole last component: neither cifar100 nor imagenette are it; names of TFDS may have a version.
    papers = re.search(r"(^|/)(cifar-?10|imagenet2012)(:[\d.]+)?/?$", dataset.lower())
    points = []
    for row in found:
        if row.top1:
            data, paper = row.to_json(), row.paper if papers else None
            kind = f"ResNet {row.net.shortcut}" if row.net.shortcut else "plain"
            depth = row.net.architecture.depth
            points.append((kind, depth, data["top1_mean"], data["top1_std"], paper.top1 if paper else None))
    return points if len({point[1] for point in points}) > 1 else []


def _responses(runs: Sequence[PlannedRun]) -> list[tuple[str, Sequence[float]]]:
    data = [(name_of(run.net), read_json(run.folder / RESPONSES)) for run in runs]
    return [(label, found["std"]) for label, found in data if found]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
