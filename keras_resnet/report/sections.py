"""The sections of the report, each from run folders; a section with nothing to say is None."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

from keras_resnet.data.sources import same_data
from keras_resnet.pages.blocks import Block, Code, Paragraph, Plot, Section, Table
from keras_resnet.pages.plots import to_svg
from keras_resnet.paper import degradation, figures
from keras_resnet.paper.experiments import Net
from keras_resnet.paper.folders import RunFolder
from keras_resnet.paper.measured import Row
from keras_resnet.paper.numbers import Printed, printed_for
from keras_resnet.paper.results import depth_points, errors_table, sources_table
from keras_resnet.report.pictures import surest_mistakes

_OF_THE_NETWORK = ("network", "shortcut", "downsample", "seed")
CURVES_PER_PLOT = 7  # there are as many colours; a group has a plot of plain networks, one of residual ones


def summary(runs: Sequence[RunFolder]) -> Section:
    """One row per run: how it ended; a table and a verdict for all runs under equal conditions."""
    blocks: list[Block] = []
    groups = _equal_conditions(runs)
    for where, group in groups.items():
        if comparisons := degradation.compare(group):
            on = f"On {where}: " if len(groups) > 1 else ""
            blocks.append(Paragraph(on + degradation.summary(comparisons), emphasis=True))
        blocks.append(_endings(group, where))
    unfinished = [str(run.path) for run in runs if not run.finished]
    if unfinished:
        blocks.append(Paragraph(f"Not finished yet: {', '.join(unfinished)}."))
    return Section("Summary", blocks)


def _endings(runs: Sequence[RunFolder], where: str) -> Table:
    """How each run ended. What a reader looks for first is on the left: a phone shows five columns."""
    rows = [
        (
            run.net.label,
            str(run.net.seed),
            ", ".join(f"{found['top1_error']:.2f}" for found in run.evaluations.values()),
            f"{run.final_training_error:.2f}",
            f"{run.final_validation_error:.2f}",
            "; ".join(_interval(views, found) for views, found in run.evaluations.items()) or "not tested",
            f"{run.column('epoch')[-1]:g}",
            f"{run.images_per_second:,.0f}",
            f"{run.net.architecture.parameters():,}",
        )
        for run in runs
    ]
    header = ("network", "seed", "test", "train", "val", "95 % of the test", "epochs", "images/s")
    caption = (
        f"{where}. Errors in percent: test with its 95 % interval; train over the last epoch, on augmented "
        "images; val after it. Images/s: median over the epochs."
    )
    return Table((*header, "parameters"), rows, caption)


def _interval(views: str, found: Any) -> str:
    low, high = found["top1_interval"]
    return f"{low:.2f} to {high:.2f}" + ("" if views == "single" else f", {views}")


def curves(runs: Sequence[RunFolder]) -> Section:
    """Training and validation error, one plot for all runs under equal conditions."""
    blocks: list[Block] = []
    for number, (where, group) in enumerate(_equal_conditions(runs).items(), 1):
        shown = sorted(group, key=lambda run: (run.net.seed, run.net.architecture.depth))[
            : 2 * CURVES_PER_PLOT
        ]
        first = group[0]
        caption = (
            f"{where}. Dashed: training error; bold: {first.held_out} error"
            + ("; dotted lines: the learning rate is divided by 10." if first.drops() else ".")
            + (f" The first {len(shown)} of {len(group)} runs." if len(shown) < len(group) else "")
        )
        blocks.append(Plot([to_svg(figure) for figure in figures.panels(shown)], caption, f"curves-{number}"))
    return Section("Curves", blocks)


def _equal_conditions(runs: Sequence[RunFolder]) -> dict[str, list[RunFolder]]:
    """The runs that differ in network and seed only, by data and recipe.

    And by the settings in which other runs on these data by this recipe differ: "digits, recipe cifar-paper,
    learning rate 0.1".
    """
    alike: dict[str, list[tuple[RunFolder, dict[str, Any]]]] = {}
    names: dict[str, None] = {}
    for run in runs:
        settings = {k: v for k, v in run.settings.items() if k not in _OF_THE_NETWORK}
        recipe = dict(settings.pop("recipe"))
        data = settings.pop("dataset")
        data = next((known for known in names if same_data(known, data)), data)  # photos, photos/
        names[data] = None
        name = f"{data}, recipe {recipe.pop('name')}"
        alike.setdefault(name, []).append((run, settings | recipe))
    groups: dict[str, list[RunFolder]] = {}
    for name, found in alike.items():
        keys = dict.fromkeys(key for _, settings in found for key in settings)
        differing = [key for key in keys if len({repr(settings.get(key)) for _, settings in found}) > 1]
        for run, settings in found:
            words = [f"{key.replace('_', ' ')} {settings.get(key)}" for key in differing]
            groups.setdefault(", ".join([name, *words]), []).append(run)
    return groups


def against_paper(runs: Sequence[RunFolder]) -> Section | None:
    """Test errors beside the paper's and others', a table for all runs under equal conditions and each kind
    of views."""
    blocks: list[Block] = []
    for where, group in _equal_conditions(runs).items():  # runs under other conditions are not further seeds
        dataset = str(group[0].settings["dataset"])
        for views in ("single", "10-crop", "multi-scale"):
            rows = _rows(group, views)
            if not rows:
                continue
            table = errors_table(rows, dataset)
            steps = sorted({round(run.column("step")[-1]) for run in group if views in run.evaluations})
            caption = (
                f"{where}, {_range(steps)} steps; measured on {rows[0].images:,} test images ({views} view). "
                "The paper's numbers are for CIFAR-10 (64,000 steps of 128) or ImageNet (600,000 of 256): "
                "other data or shorter training runs do not reproduce them."
            )
            blocks += [Table(table.header, table.rows, caption), *sources_table(rows)]
            if points := depth_points(rows, dataset):
                plot = to_svg(figures.depth_errors(points))
                blocks.append(Plot([plot], f"Test error by depth: {where}.", f"depth-{len(blocks)}"))
    return Section("Beside the paper", blocks) if blocks else None


# Where the paper prints errors by these views.
_TABLES = {"single": ("table6",), "10-crop": ("table3", "table2"), "multi-scale": ("table4",)}


def _rows(runs: Sequence[RunFolder], views: str) -> list[Row]:
    found: dict[tuple[str, str | None, str | None], list[RunFolder]] = {}
    for run in runs:
        if views in run.evaluations:
            key = (run.net.network, run.net.shortcut, run.settings.get("downsample"))
            found.setdefault(key, []).append(run)
    rows = [
        Row(
            Net(network, group[0].net.shortcut),
            tuple(run.evaluations[views]["top1_error"] for run in group),
            tuple(run.evaluations[views]["top5_error"] for run in group),
            group[0].evaluations[views]["images"],
            views,
            _printed(views, network, shortcut),
        )
        for (network, shortcut, _), group in found.items()
    ]
    return sorted(rows, key=lambda row: (row.net.shortcut or "", row.net.architecture.depth))


def _printed(views: str, network: str, shortcut: str | None) -> Printed | None:
    found = (printed_for(table, network, shortcut) for table in _TABLES[views])
    return next(filter(None, found), None)


def responses(runs: Sequence[RunFolder]) -> Section | None:
    """Figure 7 for the runs whose responses have been measured; a plot for all under equal conditions."""
    blocks: list[Block] = []
    for number, (where, group) in enumerate(_equal_conditions(runs).items(), 1):
        measured = [(run, run.responses) for run in group if run.responses]
        measured = [pair for pair in measured if pair[0].net.seed == measured[0][0].net.seed]
        if not measured:
            continue
        labelled = [(run.net.label, found["std"]) for run, found in measured]
        plots = [to_svg(figure) for figure in figures.response_panels(labelled)]
        rows = [
            (run.net.label, f"{fmean(found['std']):.3f}", str(len(found["std"])), f"{found['images']:,}")
            for run, found in measured
        ]
        caption = (
            f"{where}. Standard deviation of each 3×3 layer's responses, after batch normalisation and "
            "before ReLU and addition (Figure 7 of the paper); in the order of the layers, and sorted."
        )
        header = ("network", "mean standard deviation", "3×3 layers", "images")
        blocks += [Plot(plots, caption, f"responses-{number}"), Table(header, rows)]
    return Section("Responses of the layers", blocks) if blocks else None


def mistakes(runs: Sequence[RunFolder], data_dir: str | None) -> Section | None:
    """The most confident mistakes of the best run whose scores and images are at hand."""
    tested = [run for run in runs if "single" in run.evaluations]
    for run in sorted(tested, key=lambda run: run.evaluations["single"]["top1_error"]):
        if gallery := surest_mistakes(run, data_dir):
            return Section(f"Most confident mistakes of {run.net.label}", [gallery])
    return None


# What a row of the settings is called and how it is found in run.json.
_SETTINGS: Sequence[tuple[str, Callable[[RunFolder], Any]]] = (
    ("data set", lambda run: run.settings["dataset"]),
    ("recipe", lambda run: run.settings["recipe"]["name"]),
    ("steps", lambda run: f"{run.record.get('total_steps', 0):,}"),
    ("batch size", lambda run: run.settings["recipe"]["batch_size"]),
    ("learning rate", lambda run: run.settings["recipe"]["learning_rate"]),
    ("schedule", lambda run: run.settings["recipe"]["schedule"]),
    (
        "divided by 10 after",
        lambda run: ", ".join(f"{x:.0%}" for x in run.settings["recipe"]["drops"]) or "–",
    ),
    ("momentum", lambda run: run.settings["recipe"]["momentum"]),
    ("weight decay", lambda run: run.settings["recipe"]["weight_decay"]),
    ("training view", lambda run: run.settings["recipe"]["view"]),
    ("mirrored", lambda run: "yes" if run.settings["recipe"]["flip"] else "no"),
    ("input normalisation", lambda run: run.settings["recipe"]["normalization"]),
    ("image size", lambda run: run.settings["image_size"]),
    ("precision", lambda run: run.settings["precision"]),
    ("trained on", lambda run: run.settings["split"]),
    ("held out for validation", lambda run: run.settings["hold_out"]),
    ("devices", lambda run: run.settings["devices"]),
    ("started from", lambda run: run.settings["initial_weights"] or "random weights"),
)


def settings(runs: Sequence[RunFolder]) -> Section:
    """What all runs have in common, what differs, and the commands."""
    common, differing = [], []
    for name, get in _SETTINGS:
        values = [str(get(run)) for run in runs]
        if len(set(values)) == 1:
            common.append((name, values[0]))
        else:
            differing.append((name, values))
    blocks: list[Block] = [Table(("setting", "all runs"), common)] if common else []
    if differing:
        rows = [
            (name, *(values[i] for _, values in differing)) for i, name in enumerate(_names(runs))
        ]  # one row per run: there may be many runs, but few settings differ
        blocks.append(Table(("run", *(name for name, _ in differing)), rows))
    commands = dict.fromkeys(str(run.record.get("command", "")) for run in runs)
    blocks.append(Code("\n".join(filter(None, commands))))
    return Section("Settings", blocks)


def _names(runs: Sequence[RunFolder]) -> list[str]:
    """Names of their folders, or their paths below what all have in common where names repeat."""
    names = [run.path.name for run in runs]
    if len(set(names)) == len(names):
        return names
    paths = [run.path.resolve() for run in runs]
    return [str(path.relative_to(os.path.commonpath(paths))) for path in paths]


def hardware(runs: Sequence[RunFolder]) -> Section:
    """Machines and versions, with how many runs they made and when."""
    machines: dict[tuple[str, ...], list[RunFolder]] = {}
    for run in runs:
        machine, versions = run.record.get("hardware", {}), run.record.get("versions", {})
        key: tuple[str, ...] = (
            f"{machine.get('cpu', '?')}, {machine.get('cores', '?')} cores",
            ", ".join(machine.get("gpus", ())) or "none",
            str(machine.get("devices", "?")),
            " ".join(f"{name} {version}" for name, version in versions.items()),
        )
        machines.setdefault(key, []).append(run)
    rows = []
    for key, group in machines.items():
        dates = sorted(str(run.record.get("updated", ""))[:10] for run in group)
        rows.append((str(len(group)), *key, " to ".join(dict.fromkeys((dates[0], dates[-1])))))
    return Section("Hardware", [Table(("runs", "CPU", "GPUs", "ran on", "versions", "dates"), rows)])


def _range(values: Sequence[int]) -> str:
    return f"{values[0]:,}" if len(values) == 1 else f"{values[0]:,} to {values[-1]:,}"
