"""`keras-resnet recalibrate`."""

from __future__ import annotations

import click

from keras_resnet.cli.common import (
    COUNT,
    command,
    data_dir_option,
    dataset_option,
    echo,
    skip_limit_option,
    start_tensorflow,
)


@command()
@click.argument("model")
@dataset_option
@data_dir_option
@click.option(
    "--batches",
    type=COUNT,
    metavar="N",
    default=100,
    show_default=True,
    help="Training batches to average over.",
)
@click.option(
    "--batch-size", type=COUNT, metavar="N", default=128, show_default=True, help="Images per batch."
)
@click.option("--output", metavar="FILE.keras", help="File to write; by default the model is overwritten.")
@skip_limit_option
def recalibrate(
    model: str,
    dataset: str | None,
    data_dir: str | None,
    batches: int,
    batch_size: int,
    output: str | None,
    skip_limit: float,
) -> None:
    """Recompute batch normalisation's statistics.

    MODEL is a run folder or a .keras file. Its moving averages are replaced by plain averages over training
    images, as the authors' released models have them. For a run these are the images it was trained on; for
    any other file, or with --dataset, those of the split train.

    Example:

    \b
        keras-resnet recalibrate runs/resnet20-digits --output recalibrated.keras
    """
    start_tensorflow()
    from keras_resnet.training.recalibration import recalibrate_file

    path = recalibrate_file(
        model,
        dataset=dataset,
        data_dir=data_dir,
        batches=batches,
        batch_size=batch_size,
        output=output,
        skip_limit=skip_limit,
    )
    echo(f"recalibrated over up to {batches} batches: {path}")
