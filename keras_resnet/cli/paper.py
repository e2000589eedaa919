"""`keras-resnet paper` and `keras-resnet report`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from keras_resnet.cli.common import (
    COUNT,
    accumulate_option,
    command,
    data_dir_option,
    dataset_option,
    devices_option,
    echo,
    echo_json,
    echo_table,
    gradient_clip_option,
    hold_out_option,
    json_option,
    learning_rate_option,
    precision_option,
    recipe_option,
    skip_limit_option,
    start_tensorflow,
)
from keras_resnet.errors import UsageError

if TYPE_CHECKING:
    from keras_resnet.paper.answers import Answer


@command()
@click.argument("name", required=False, metavar="[TABLE|FIGURE]")
@dataset_option
@data_dir_option
@click.option("--quick", is_flag=True, help="The laptop edition: digits, 20 and 56 layers, 15 epochs.")
@click.option(
    "--budget", metavar="TIME", help="Stop after this time (2h, 30m, 1h30m); the same command resumes."
)
@click.option(
    "--seeds",
    type=COUNT,
    metavar="N",
    help="Train each network N times, from seeds 0 … N-1; by default as often as the paper did.",
)
@recipe_option
@click.option("--epochs", type=float, metavar="E", help="Length of each training run in epochs.")
@click.option("--steps", type=COUNT, metavar="N", help="Length of each training run in steps.")
@click.option("--batch-size", type=COUNT, metavar="N", help="Images per step, over all devices.")
@learning_rate_option
@gradient_clip_option
@click.option("--image-size", type=COUNT, metavar="PIXELS", help="Side of the networks' input.")
@hold_out_option
@precision_option
@devices_option
@accumulate_option
@skip_limit_option
@click.option(
    "--networks",
    metavar="A,B,…",
    help="Only these, such as resnet20,resnet56; for table1 and figure3, those to draw.",
)
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="MODEL",
    help="For figure7: measure this run or .keras file and train nothing; can be repeated.",
)
@click.option(
    "--workdir", default="runs/paper", show_default=True, metavar="DIR", help="Folder for the runs."
)
@click.option("--show", is_flag=True, help="Show what has been measured and what is missing; train nothing.")
@click.option(
    "--output",
    metavar="FILE",
    help="PNG file to draw (SVG for table1 and figure3); by default beside the runs.",
)
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
    accumulate: int,
    skip_limit: float,
    networks: str | None,
    models: tuple[str, ...],
    workdir: str,
    show: bool,
    output: str | None,
    as_json: bool,
    **overrides: Any,
) -> None:
    """Measure a table or figure of the paper.

    Without a name, lists them with what has been measured so far. Networks are trained smallest first, each
    from all its seeds. Every run is kept: the same command resumes where it stopped. Without --dataset,
    tables and figures of ImageNet are shown as printed; the others train on the digits that scikit-learn
    ships.

    Examples:

    \b
        keras-resnet paper
        keras-resnet paper figure6 --quick
        keras-resnet paper table6 --dataset cifar10 --budget 2h
        keras-resnet paper table3 --dataset path/to/folders --recipe cifar-fast --seeds 3
        keras-resnet paper figure7 --dataset cifar10 --model runs/resnet56-cifar10
        keras-resnet paper figure3 --output figure3.svg
    """
    from keras_resnet.paper import answers
    from keras_resnet.paper.experiments import get_experiment
    from keras_resnet.paper.plan import Conditions, make_plan, quick_conditions
    from keras_resnet.paper.runner import seconds_of

    if name is None:
        _tell(answers.list_experiments(workdir), as_json)
        return
    experiment = get_experiment(name)
    only = tuple(part for word in (networks or "").split(",") if (part := word.strip()))
    if experiment.measure == "none":
        _tell(answers.drawn(experiment, only, output or f"{workdir}/{name}.svg"), as_json)
        return
    seconds = None if budget is None else seconds_of(budget)
    if models:
        if experiment.measure != "responses":
            raise UsageError("--model belongs to figure7: other tables and figures train their networks")
        kept = ("models", "dataset", "data_dir", "hold_out", "skip_limit", "output")
        _refuse_other_options(kept, "is for training: leave it or --model out")
        start_tensorflow()
        found = answers.responses_of_models(
            models,
            dataset,
            data_dir,
            held_out=hold_out,
            workdir=workdir,
            output=output,
            skip_limit=skip_limit,
        )
        _tell(found, as_json)
        return
    if dataset is None and not quick and experiment.imagenet:
        # Numbers as printed know nothing of how to train; a length would be ignored without a word.
        _refuse_other_options(
            (),
            "is for training: name the data too, --dataset imagenet2012; without it "
            f"{experiment.name} is shown as the paper prints it",
        )
        _tell(answers.as_printed(experiment), as_json)
        return
    changes = {key: value for key, value in overrides.items() if value is not None}
    if quick:
        if dataset or recipe or changes or image_size or hold_out or accumulate > 1:
            raise UsageError("--quick fixes data and recipe; leave out what changes them, or --quick itself")
        conditions = quick_conditions(precision, devices)
    else:
        conditions = Conditions(
            dataset or "digits",
            data_dir=data_dir,
            recipe=recipe,
            overrides=changes,
            image_size=image_size,
            precision=precision,
            devices=devices,
            hold_out=hold_out,
            accumulate=accumulate,
            skip_limit=skip_limit,
        )
    from keras_resnet.data.sources import open_dataset

    data = open_dataset(conditions.dataset, data_dir=data_dir)
    plan = make_plan(experiment, data, conditions, workdir=workdir, seeds=seeds, quick=quick, only=only)
    found = answers.measure(
        plan, budget=seconds, show=show, output=output, say=lambda line: echo(line, err=True)
    )
    _tell(found, as_json)


def _refuse_other_options(kept: Sequence[str], why: str) -> None:
    """Refuse an option that was given and would be ignored."""
    context = click.get_current_context()
    for parameter in context.command.params:
        given = context.get_parameter_source(parameter.name or "") is not ParameterSource.DEFAULT
        if given and parameter.name not in ("name", "workdir", "show", "as_json", "debug", *kept):
            raise UsageError(f"{parameter.opts[-1]} {why}")


def _tell(answer: Answer, as_json: bool) -> None:
    if as_json:
        echo_json(answer.data)
    else:
        if answer.title:
            echo(f"{answer.title}\n")
        for table in answer.tables:
            echo_table(table.rows, table.header)
            echo()
        for line in answer.lines:
            echo(line)
    for note in answer.notes:
        echo(note, err=True)


@command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--output", metavar="FILE", help="File to write; report.html or report.md by default.")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["html", "markdown"]),
    help="By default taken from the extension of --output.",
)
@data_dir_option
@skip_limit_option
@click.option(
    "--evaluate/--no-evaluate",
    default=True,
    help="Whether to test runs that have not been tested yet, where their data can be opened (default: yes).",
)
@click.option(
    "--title",
    metavar="TITLE",
    default="Residual networks: a report of training runs",
    show_default=True,
    help="Title of the page.",
)
def report(
    runs: tuple[str, ...],
    output: str | None,
    kind: str | None,
    data_dir: str | None,
    skip_limit: float,
    evaluate: bool,
    title: str,
) -> None:
    """Write one page about training runs.

    The page has their curves, errors beside the paper's, settings and mistakes. A RUN is a run folder, or a
    folder with run folders below it. The HTML page needs nothing outside itself; Markdown comes with a folder
    of images beside it.

    Examples:

    \b
        keras-resnet report runs/resnet20-digits
        keras-resnet report runs/paper/digits/quick --output quick.html
        keras-resnet report runs/a runs/b --output runs.md
    """
    from keras_resnet.report.report import write_report

    output = output or ("report.md" if kind == "markdown" else "report.html")
    path = write_report(
        runs, output, kind=kind, data_dir=data_dir, skip_limit=skip_limit, evaluate=evaluate, title=title
    )
    echo(str(path))
