"""`keras-resnet paper` and `keras-resnet report`."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import click

from keras_resnet.cli.common import (
    command,
    data_dir_option,
    dataset_option,
    devices_option,
    echo_json,
    echo_table,
    json_option,
    precision_option,
    start_tensorflow,
)

if TYPE_CHECKING:
    from keras_resnet.paper.experiments import Experiment
    from keras_resnet.paper.plan import Plan


@command()
@click.argument("name", required=False, metavar="[TABLE|FIGURE]")
@dataset_option
@data_dir_option
@click.option("--quick", is_flag=True, help="The laptop edition: digits, 20 and 56 layers, 15 epochs.")
@click.option("--budget", metavar="TIME", help="Stop after 2h, 30m, 1h30m …; the same command goes on.")
@click.option("--seeds", type=click.IntRange(1), help="Train each network so many times.")
@click.option("--recipe", metavar="NAME", help="See `keras-resnet recipes`; by default the paper's.")
@click.option("--epochs", type=float, help="Length of each training in epochs.")
@click.option("--steps", type=int, help="Length of each training in steps.")
@click.option("--batch-size", type=int, help="Images per step.")
@click.option("--learning-rate", type=float, help="Peak learning rate.")
@click.option("--image-size", type=int, metavar="PIXELS", help="Side of the networks' input.")
@click.option("--hold-out", type=int, default=0, help="Validate on that many training images (Sec. 4.2).")
@precision_option
@devices_option
@click.option("--networks", metavar="A,B,…", help="Only these networks; for figure3: which to draw.")
@click.option("--model", "models", multiple=True, metavar="MODEL", help="figure7: measure this run or file.")
@click.option("--workdir", default="runs/paper", show_default=True, metavar="DIR", help="Where runs go.")
@click.option("--show", is_flag=True, help="Show what is measured; train nothing.")
@click.option("--output", metavar="FILE", help="Where to draw; by default beside the runs.")
@json_option
def paper(
    name: str | None,
    dataset: str | None,
    data_dir: str | None,
    quick: bool,
    budget: str | None,
    seeds: int | None,
    recipe: str | None,
    image_size: int | None,
    hold_out: int,
    precision: str,
    devices: str,
    networks: str | None,
    models: tuple[str, ...],
    workdir: str,
    show: bool,
    output: str | None,
    as_json: bool,
    **overrides: Any,
) -> None:
    """Measure a table or figure of the paper; without a name, list them and what is measured so far.

    The smallest network is trained first. Every run is kept: the same command goes on where it stopped.
    Without --dataset it trains on the digits that scikit-learn ships; tables of ImageNet are then shown
    as printed.

    Examples:

    \b
        keras-resnet paper
        keras-resnet paper figure6 --quick
        keras-resnet paper table6 --dataset cifar10 --budget 2h
        keras-resnet paper table3 --dataset path/to/folders --recipe cifar-fast --seeds 3
        keras-resnet paper figure7 --dataset cifar10 --model runs/resnet56-cifar10
        keras-resnet paper figure3 --output figure3.svg
    """
    from keras_resnet.errors import UsageError
    from keras_resnet.paper.experiments import get_experiment
    from keras_resnet.paper.runner import seconds_of

    if name is None:
        _list(workdir, as_json)
        return
    experiment = get_experiment(name)
    only = tuple(part.strip() for part in networks.split(",")) if networks else None
    if experiment.measure == "none":
        _draw(name, only, output or f"{workdir}/{name}.svg", as_json)
        return
    seconds = None if budget is None else seconds_of(budget)
    if models:
        if experiment.measure != "responses":
            raise UsageError("--model belongs to figure7: other tables and figures train their networks")
        _responses_of(models, dataset, data_dir, Path(output or f"{workdir}/figure7.png"), as_json)
        return
    if dataset is None and not quick and not experiment.cifar:
        _unmeasured(experiment, as_json)
        return

    from keras_resnet.data.sources import open_dataset
    from keras_resnet.paper.plan import Conditions, make_plan, quick_conditions
    from keras_resnet.paper.runner import run_plan

    changes = {key: value for key, value in overrides.items() if value is not None}
    if quick:
        if dataset or recipe or changes or image_size or hold_out:
            raise UsageError("--quick fixes data and recipe; leave out what changes them, or --quick itself")
        conditions = quick_conditions(precision, devices)
    else:
        conditions = Conditions(
            dataset or "digits", data_dir, recipe, changes, image_size, precision, devices, hold_out
        )
    if conditions.dataset != "digits" and not Path(conditions.dataset).is_dir():
        start_tensorflow()  # TFDS imports it; digits and folders are listed without
    data = open_dataset(conditions.dataset, data_dir=data_dir)
    plan = make_plan(experiment, data, conditions, workdir=workdir, seeds=seeds, quick=quick, only=only)
    complete = show or run_plan(plan, budget=seconds, say=lambda line: click.echo(line, err=True))
    if experiment.measure == "responses" and not show:
        _measure_responses(plan, data)
    drawn = _plot(plan, Path(output) if output else None)
    _tell(plan, drawn, as_json)
    if not complete:
        click.echo("the budget is spent; run the same command again to go on", err=True)


def _list(workdir: str, as_json: bool) -> None:
    from keras_resnet.paper.overview import overview

    entries = overview(workdir)
    if as_json:
        echo_json([entry.to_json() for entry in entries])
        return
    for entry in entries:
        click.echo(f"{entry.experiment.name:8} {entry.experiment.title}")
        data = entry.to_json()
        if data["gpu_hours"]:
            click.echo(f"         needs ImageNet and about {data['gpu_hours']} hours of one A100 (estimate)")
        elif data["networks"]:
            click.echo(f"         needs {entry.experiment.needs}, or smaller pictures such as digits")
        for found in entry.measured:
            count = f"{found.networks} of {found.of} networks"
            click.echo(f"         measured: {count} on {found.dataset} ({found.conditions})")
        click.echo(f"         {entry.command}")


def _unmeasured(experiment: Experiment, as_json: bool) -> None:
    """What the paper prints of an experiment on ImageNet, which nobody has named."""
    from keras_resnet.paper.estimates import imagenet_hours
    from keras_resnet.paper.results import errors_table, others_table, unmeasured

    rows = unmeasured(experiment)
    command = f"keras-resnet paper {experiment.name} --dataset imagenet2012"
    if as_json:
        found = {"experiment": experiment.name, "title": experiment.title, "question": experiment.question}
        echo_json(found | {"dataset": None, "runs": [], "rows": [row.to_json() for row in rows]})
    else:
        click.echo(f"{experiment.title}\n")
        for table in (errors_table(rows, "ImageNet"), *others_table(experiment)):
            echo_table(table.rows, table.header)
            click.echo()
    hours = imagenet_hours(experiment.imagenet)
    click.echo(
        f"not measured: it takes ImageNet and about {hours:.0f} hours of one A100; {command}", err=True
    )


def _draw(name: str, networks: tuple[str, ...] | None, output: str, as_json: bool) -> None:
    """Table 1 as text; Figure 3 as an SVG file."""
    from keras_resnet.errors import UserError
    from keras_resnet.paper.drawing import FIGURE3, TABLE1, draw, network_table, standalone, table1

    table = table1() if name == "table1" else network_table()
    drawn = networks or (TABLE1 if name == "table1" else FIGURE3)
    path = Path(output)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(standalone(draw(drawn)), encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    if as_json:
        rows = [dict(zip(table.header, row, strict=True)) for row in table.rows]
        echo_json({"experiment": name, "rows": rows, "drawing": str(path)})
        return
    echo_table(table.rows, table.header)
    click.echo(f"drawn: {path}", err=True)


def _responses_of(
    models: tuple[str, ...], dataset: str | None, data_dir: str | None, path: Path, as_json: bool
) -> None:
    """Figure 7 for given runs and files."""
    start_tensorflow()
    from keras_resnet.pages.plots import save_png
    from keras_resnet.paper import figures
    from keras_resnet.paper.responses import responses_of

    found = responses_of(models, dataset, data_dir)
    labelled = [(f"{r.network}, {Path(model).name}", r.stds) for model, r in found]
    save_png(figures.responses(labelled, "#222222"), path)
    if as_json:
        echo_json({"responses": [{"model": m} | r.to_json() for m, r in found], "plot": str(path)})
        return
    rows = [(model, len(r.stds), f"{fmean(r.stds):.3f}") for model, r in found]
    echo_table(rows, ("model", "3×3 layers", "mean standard deviation"))
    click.echo(f"plot: {path}", err=True)


def _measure_responses(plan: Plan, data: Any) -> None:
    from keras_resnet.paper.folders import RESPONSES

    todo = [run for run in plan.runs if run.status == "measured" and not (run.folder / RESPONSES).exists()]
    if not todo:
        return
    start_tensorflow()
    from keras_resnet.paper.responses import run_responses

    for run in todo:
        click.echo(f"measuring the responses of {run.net.label}", err=True)
        run_responses(run.folder, data)


def _plot(plan: Plan, output: Path | None) -> Path | None:
    """The plot's file; without matplotlib none, unless it was asked for by name."""
    from keras_resnet.errors import UserError
    from keras_resnet.paper import results

    try:
        return results.plot(plan, output or plan.runs[0].folder.parent / f"{plan.experiment.name}.png")
    except UserError as error:
        if output:
            raise
        click.echo(f"not drawn: {error}", err=True)
        return None


def _tell(plan: Plan, drawn: Path | None, as_json: bool) -> None:
    from keras_resnet.paper import results

    found = results.collect(plan)
    if as_json:
        echo_json(found | {"plot": str(drawn) if drawn else None})
        return
    click.echo(f"{plan.experiment.title}\n")
    for table in results.tables(plan):
        echo_table(table.rows, table.header)
        click.echo()
    if "summary" in found:
        click.echo(found["summary"])
    missing = sum(run.status != "measured" for run in plan.runs)
    if missing:
        folder = plan.runs[0].folder.parent
        click.echo(f"{missing} of {len(plan.runs)} runs are not measured yet; they go to {folder}")
    if drawn:
        click.echo(f"plot: {drawn}", err=True)


@command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--output", default="report.html", show_default=True, metavar="FILE", help="Where to write.")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["html", "markdown"]),
    help="By default what the name of --output ends in.",
)
@data_dir_option
@click.option("--evaluate/--no-evaluate", default=True, help="Test runs that have not been tested yet.")
@click.option(
    "--title", default="Residual networks: a report of training runs", show_default=True, help="Of the page."
)
def report(
    runs: tuple[str, ...], output: str, kind: str | None, data_dir: str | None, evaluate: bool, title: str
) -> None:
    """Write one page about training runs: curves, errors beside the paper's, settings, mistakes.

    A RUN is a run folder, or a folder with run folders below it. The HTML page needs nothing outside
    itself; Markdown comes with a folder of images beside it.

    Examples:

    \b
        keras-resnet report runs/resnet20-digits
        keras-resnet report runs/paper/digits/quick --output quick.html
        keras-resnet report runs/a runs/b --output runs.md
    """
    from keras_resnet.report.report import write_report

    path = write_report(runs, output, kind=kind, data_dir=data_dir, evaluate=evaluate, title=title)
    click.echo(path)
