"""`keras-resnet evaluate`, `ensemble`, `compare` and `explain`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from keras_resnet.cli.common import (
    COUNT,
    command,
    data_dir_option,
    dataset_option,
    devices_option,
    echo,
    echo_json,
    json_option,
    skip_limit_option,
    start_tensorflow,
)

if TYPE_CHECKING:
    from keras_resnet.data.sources import Dataset
    from keras_resnet.evaluation import Evaluation

NAMES_SHOWN = 20  # of unreadable images, where a person reads

report_option = click.option("--report", metavar="FILE", help="Also write a page with figures: .html or .md.")


@command()
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@dataset_option
@data_dir_option
@click.option(
    "--split",
    metavar="SPLIT",
    help="Split to test on, or a slice such as test[:1000]; by default test (but of imagenet2012, whose test "
    "labels are secret), else the validation split.",
)
@click.option(
    "--hold-out",
    type=click.IntRange(min=0),
    metavar="N",
    default=0,
    help="For a run trained with --hold-out N: hold out the same images, and test on them where there is no "
    "test split.",
)
@click.option(
    "--views",
    type=click.Choice(["single", "10-crop", "multi-scale"]),
    default="single",
    show_default=True,
    help="One central crop; corners and centre, and their mirror images; whole images at five scales.",
)
@click.option(
    "--batch-size",
    type=COUNT,
    metavar="N",
    default=64,
    show_default=True,
    help="Views per step; the result does not depend on it.",
)
@devices_option
@click.option(
    "--save-scores", metavar="FILE.npz", help="Keep every image's scores, for `ensemble` and `compare`."
)
@skip_limit_option
@report_option
@click.option("--mistakes", metavar="FILE.png", help="Also write a sheet of the most confident mistakes.")
@json_option
def evaluate(
    models: tuple[str, ...],
    dataset: str | None,
    data_dir: str | None,
    split: str | None,
    hold_out: int,
    views: str,
    batch_size: int,
    devices: str,
    save_scores: str | None,
    skip_limit: float,
    report: str | None,
    mistakes: str | None,
    as_json: bool,
) -> None:
    """Measure top-1 and top-5 error of a model or an ensemble.

    A MODEL is a run folder, a .keras file or an export (SavedModel, .onnx, .tflite); several form an
    ensemble. Without --dataset, the data is what the (first) model was trained on.

    Examples:

    \b
        keras-resnet evaluate runs/resnet20-digits
        keras-resnet evaluate resnet50.keras --dataset imagenet2012 --views 10-crop --json
        keras-resnet evaluate runs/a runs/b --save-scores ab.npz --report ab.html
    """
    start_tensorflow()
    from keras_resnet.data.sources import open_dataset
    from keras_resnet.evaluation import evaluate as run_evaluation
    from keras_resnet.evaluation.protocols import data_of
    from keras_resnet.pages.writing import page_format, require_png, require_writable
    from keras_resnet.serving.forms import is_converted, open_form
    from keras_resnet.training.checks import check_held_out
    from keras_resnet.training.devices import make_strategy

    if report:
        page_format(report)
        require_writable(report)
    if mistakes:
        require_png(mistakes)
    strategy = make_strategy(devices)
    with strategy.scope():
        first = open_form(models[0])
    # Keras models one at a time: an ensemble needs the memory of one only.
    others = [open_form(model) if is_converted(model) else model for model in models[1:]]
    name = data_of(first.info, models[0], dataset)
    data = open_dataset(name, data_dir=data_dir, held_out=hold_out)
    for model in models:
        check_held_out(Path(model), data)
    result = run_evaluation(
        [first, *others],
        data,
        split=split,
        views=views,
        batch_size=batch_size,
        save_scores=save_scores,
        strategy=strategy if strategy.num_replicas_in_sync > 1 else None,
        skip_limit=skip_limit,
    )
    _show(result, report, as_json, data)
    if mistakes:
        from keras_resnet.evaluation.mistakes import write_mistakes_sheet

        write_mistakes_sheet(result, data, mistakes)
        echo(f"mistakes: {mistakes}", err=True)


@command()
@click.argument("files", nargs=-1, required=True, metavar="FILE.npz...")
@report_option
@json_option
def ensemble(files: tuple[str, ...], report: str | None, as_json: bool) -> None:
    """Average the saved scores of several models.

    The files are those of `evaluate --save-scores`; no model is run again.

    Example:

    \b
        keras-resnet ensemble resnet20.npz resnet32.npz resnet56.npz
    """
    from keras_resnet.evaluation import combine_scores

    _show(combine_scores(files), report, as_json)


@command()
@click.argument("first", metavar="A.npz")
@click.argument("second", metavar="B.npz")
@json_option
def compare(first: str, second: str, as_json: bool) -> None:
    """Test whether two models differ by more than chance.

    This is McNemar's exact test, on scores of the same images saved by `evaluate --save-scores`.

    Example:

    \b
        keras-resnet compare resnet56.npz plain56.npz
    """
    from keras_resnet.evaluation import combine_scores, mcnemar

    evaluations = [combine_scores([file]) for file in (first, second)]
    test = mcnemar(*evaluations)
    answer = {
        "top1_error": [evaluation.top1_error for evaluation in evaluations],
        "only_first_right": test.only_first_right,
        "only_second_right": test.only_second_right,
        "p_value": test.p_value,
    }
    if as_json:
        echo_json(answer)
        return
    echo(f"top-1 error {evaluations[0].top1_error:.2f} % and {evaluations[1].top1_error:.2f} %")
    echo(
        f"{test.only_first_right} only the first gets right, {test.only_second_right} only the second; "
        f"p = {test.p_value:.2g}"
    )


def _show(result: Evaluation, report: str | None, as_json: bool, data: Dataset | None = None) -> None:
    """Say what was found, and only then write its page: the numbers may have taken hours."""
    if as_json:
        echo_json(result.to_json())
    else:
        _print_numbers(result)
    if report:
        from keras_resnet.evaluation.report import write_report

        write_report(result, report, dataset=data)
        echo(f"report: {report}", err=True)


def _print_numbers(result: Evaluation) -> None:
    for name in result.errors_shown:
        low, high = result.intervals[name]
        label = "top-1" if name == "top1_error" else "top-5"
        echo(f"{label} error  {getattr(result, name):6.2f} %   (95 % interval {low:.2f} to {high:.2f})")
    skipped = f", {result.skipped} unreadable and skipped" if result.skipped else ""
    echo(
        f"{result.images:,} images of {result.scores.dataset} ({result.scores.split}){skipped}; "
        f"views {result.views}; {', '.join(result.models)}"
    )
    names = result.scores.skipped
    for name in names[:NAMES_SHOWN]:
        echo(f"  unreadable: {name}")
    if len(names) > NAMES_SHOWN:
        echo(f"  and {len(names) - NAMES_SHOWN} more: --json names all of them")


@command()
@click.argument("model")
@click.argument("image")
@click.option(
    "--output",
    metavar="FILE.png",
    help="Image to write; IMAGE-explained.png in the current folder by default.",
)
@click.option("--label", metavar="NAME", help="Class to explain; by default the most probable one.")
def explain(model: str, image: str, output: str | None, label: str | None) -> None:
    """Draw a heat map of what a model looks at (Grad-CAM).

    MODEL is a run folder or a .keras file. Prints the file written, the class explained and its probability.

    Examples:

    \b
        keras-resnet explain runs/resnet20-digits seven.png
        keras-resnet explain runs/resnet20-digits seven.png --label 1 --output one.png
    """
    start_tensorflow()
    from pathlib import Path

    from keras_resnet.evaluation.explain import explain as run_explain

    target = output or f"{Path(image).stem}-explained.png"
    found = run_explain(model, image, target, label=label)
    echo(f"{found.output}: {found.label}, {found.probability:.1%}")
