"""What `keras-resnet paper` answers: as data for JSON, and as tables and lines for a reader."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from keras_resnet.errors import UsageError, UserError, writing
from keras_resnet.pages import plots
from keras_resnet.pages.blocks import Table
from keras_resnet.pages.writing import require_png
from keras_resnet.paper import figures, results
from keras_resnet.paper.drawing import FIGURE3, TABLE1, draw, network_table, standalone, table1
from keras_resnet.paper.estimates import imagenet_hours
from keras_resnet.paper.experiments import Experiment
from keras_resnet.paper.overview import overview
from keras_resnet.paper.plan import Plan
from keras_resnet.paper.runner import Say, run_plan


@dataclass(frozen=True)
class Answer:
    """`data` is for JSON; `title`, `tables` and `lines` are the answer in words, `notes` belong beside it."""

    data: Any
    title: str = ""
    tables: Sequence[Table] = ()
    lines: Sequence[str] = ()
    notes: Sequence[str] = ()


def list_experiments(workdir: str | Path) -> Answer:
    """Every table and figure: what it needs, what the runs below `workdir` measured, the command."""
    data, lines = [], []
    for entry in overview(workdir):
        shown = entry.to_json()
        data.append(shown)
        lines.append(f"{entry.experiment.name:8} {entry.experiment.title}")
        indented = []
        if shown["gpu_hours"]:
            indented.append(f"needs ImageNet and about {shown['gpu_hours']} hours of one A100 (estimate)")
        elif shown["cpu_hours"]:
            hours = f"about {shown['cpu_hours']} hours of two CPU cores (estimate)"
            indented.append(
                f"needs {entry.experiment.needs} and {hours}, or a smaller data set such as digits"
            )
        else:
            indented.append("needs nothing: drawn from the descriptions of the networks")
        indented.append(entry.command)
        if entry.cifar_command:
            indented.append(
                f"{entry.cifar_command} (its question on CIFAR-10, "
                f"about {shown['cpu_hours']} hours of two CPU cores)"
            )
        for found in entry.measured:
            rest = f"; the rest: {found.rest}" if found.rest else ""
            count = f"{found.runs} of {found.of} runs"
            indented.append(f"measured: {count} on {found.dataset} ({found.conditions}){rest}")
        lines += [f"         {line}" for line in indented]
    return Answer(data, lines=lines)


def as_printed(experiment: Experiment) -> Answer:
    """What the paper prints of an experiment on ImageNet where no data are named."""
    rows = results.unmeasured(experiment)
    hours = imagenet_hours(experiment.imagenet)
    found = {"experiment": experiment.name, "title": experiment.title, "question": experiment.question}
    notes = [
        f"not measured: it takes ImageNet and about {hours:.0f} hours of one A100; "
        f"keras-resnet paper {experiment.name} --dataset imagenet2012"
    ]
    if experiment.cifar:
        notes.append("its question on small images: --dataset cifar10, or --dataset digits")
    return Answer(
        found | {"dataset": None, "runs": [], "rows": [row.to_json() for row in rows]},
        experiment.title,
        [
            results.errors_table(rows, "ImageNet"),
            *results.others_table(experiment, rows),
            *results.sources_table(rows),
        ],
        notes=notes,
    )


def drawn(experiment: Experiment, networks: Sequence[str] | None, path: str | Path) -> Answer:
    """Table 1 or Figure 3: numbers as a table, networks drawn side by side to an SVG file.

    Raises:
        UsageError: there is no such network, or the file's name has another ending.
        UserError: the file cannot be written.
    """
    if Path(path).suffix.lower() != ".svg":
        raise UsageError(f"{path} would be an SVG file: let its name end in .svg")
    is_table = experiment.name == "table1"
    names = networks or (TABLE1 if is_table else FIGURE3)
    table = table1() if is_table else network_table(names)
    svg = standalone(draw(names))
    with writing(path):
        Path(path).write_text(svg, encoding="utf-8")
    rows = [dict(zip(table.header, row, strict=True)) for row in table.rows]
    data = {"experiment": experiment.name, "rows": rows, "drawing": str(path)}
    return Answer(data, tables=[table], notes=[f"drawn: {path}"])


def responses_of_models(
    models: Sequence[str],
    dataset: str | None,
    data_dir: str | None,
    *,
    held_out: int | None = None,
    workdir: str | Path,
    output: str | Path | None = None,
    skip_limit: float = 0.05,
) -> Answer:
    """Figure 7 for run folders and model files, each on `dataset` or on what it was trained on.

    The plot goes to `output`; None: to `workdir`, and there is none where matplotlib is missing.

    Raises:
        UserError: a model, its data or more than `skip_limit` of its images cannot be read, or `output`
            cannot be drawn.
    """
    if output:
        plots.require()
        require_png(output)
    from keras_resnet.paper.responses import responses_of

    found = responses_of(models, dataset, data_dir, held_out, skip_limit)
    labelled = [(f"{r.network}, {Path(model).name}", r.stds) for model, r in found]
    path = Path(output or Path(workdir) / "figure7.png")
    plot, notes = _try(
        lambda: plots.save_png(figures.responses(labelled, results.INK_ON_WHITE), path), bool(output)
    )
    rows = [(model, str(len(r.stds)), f"{fmean(r.stds):.3f}") for model, r in found]
    return Answer(
        {"responses": [{"model": model} | r.to_json() for model, r in found], "plot": plot},
        tables=[Table(("model", "3×3 layers", "mean standard deviation"), rows)],
        notes=notes,
    )


def measure(
    plan: Plan,
    *,
    budget: float | None = None,
    show: bool = False,
    output: str | Path | None = None,
    say: Say = lambda line: None,
) -> Answer:
    """Train and test what `plan` lacks, then report all that is measured.

    Args:
        plan: what to measure.
        budget: seconds after which the current training run saves itself and stops.
        show: only report what is there; train nothing.
        output: the plot's file; None: beside the runs, and none where matplotlib is missing.
        say: takes a line on what is being done.

    Raises:
        UserError: a run failed; earlier ones keep what they measured.
        Interrupted: SIGINT or SIGTERM came; the current training run has been saved.
    """
    if output:
        plots.require()
        require_png(output)
    complete = show or run_plan(plan, budget=budget, say=say)
    path = Path(output or plan.folder / f"{plan.experiment.name}.png")
    plot, notes = _try(lambda: results.plot(plan, path), bool(output))
    if not complete:
        notes.append("the budget is spent; run the same command again to resume")
    data = results.collect(plan)
    lines = [data["summary"]] if "summary" in data else []
    if missing := sum(run.status != "measured" for run in plan.runs):
        lines.append(f"not measured yet: {missing} of {len(plan.runs)} runs; they go to {plan.folder}")
    return Answer(
        data | {"complete": complete and not missing, "plot": plot},
        plan.experiment.title,
        results.tables(plan),
        lines,
        notes,
    )


def _try(draw: Callable[[], Path | None], asked_for: bool) -> tuple[str | None, list[str]]:
    """The file that `draw` has drawn, if any, and a note on it; what was measured does not need a plot."""
    try:
        plot = draw()
    except UserError as error:
        if asked_for:
            raise
        return None, [f"not drawn: {error}"]
    if plot is None:
        return None, ["not drawn: there is nothing to draw"] if asked_for else []
    return str(plot), [f"plot: {plot}"]
