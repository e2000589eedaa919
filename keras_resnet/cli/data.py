"""`keras-resnet data`: look into a data set, pack it into shards, write some of its images."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from keras_resnet.cli.common import (
    COUNT,
    Group,
    data_dir_option,
    echo,
    echo_json,
    echo_table,
    json_option,
    start_tensorflow,
)
from keras_resnet.errors import UsageError

if TYPE_CHECKING:
    from keras_resnet.data.sources import Dataset
    from keras_resnet.training.settings import RunSettings


@click.group(cls=Group)
def data() -> None:
    """Inspect data sets, pack them into shards, write samples."""


@data.command("inspect")
@click.argument("dataset")
@data_dir_option
@click.option(
    "--limit",
    type=COUNT,
    metavar="N",
    default=2000,
    show_default=True,
    help="Look at up to N images of each split.",
)
@click.option("--all", "look_at_all", is_flag=True, help="Look at every image.")
@click.option(
    "--sheet", metavar="FILE.png", help="Also write a sheet of training samples, as a network sees them."
)
@click.option(
    "--recipe",
    metavar="NAME",
    help="Recipe whose augmentation the sheet shows; by default the one that fits the data.",
)
@click.option("--image-size", type=COUNT, metavar="PIXELS", help="Side of the sheet's samples.")
@json_option
def inspect_command(
    dataset: str,
    data_dir: str | None,
    limit: int,
    look_at_all: bool,
    sheet: str | None,
    recipe: str | None,
    image_size: int | None,
    as_json: bool,
) -> None:
    """Show classes, counts, sizes and broken files.

    DATASET is digits, a folder or a TFDS name, as for `train --dataset`.

    Examples:

    \b
        keras-resnet data inspect digits --sheet digits.png
        keras-resnet data inspect path/to/folders --all --json
    """
    from keras_resnet.pages.writing import require_png
    from keras_resnet.recipes import get_recipe

    # Mistakes are reported before the long look.
    if recipe:
        get_recipe(recipe)
    if not sheet and (recipe or image_size):
        raise UsageError("--recipe and --image-size say what a sheet shows: add --sheet FILE.png")
    if sheet:
        require_png(sheet)
    start_tensorflow()
    from keras_resnet.data.inspect import inspect
    from keras_resnet.data.sources import open_dataset
    from keras_resnet.evaluation.progress import progress

    opened = open_dataset(dataset, data_dir=data_dir)
    settings = _sheet_settings(opened, recipe, image_size) if sheet else None
    most = None if look_at_all else limit
    total = sum(min(most or images, images) for images in opened.splits.values())
    with progress(opened.name, total) as advance:
        found = inspect(opened, limit=most, advance=advance)
    if as_json:
        echo_json(found)
    else:
        _echo_findings(found)
    if sheet and settings:
        _write_sheet(opened, settings, sheet)
        echo(f"sheet: {sheet}", err=True)


def _echo_findings(found: dict[str, Any]) -> None:
    echo(f"{found['name']} ({found['kind']}), {found['classes']} classes")
    for split, facts in found["splits"].items():
        kinds = [kind for kind in ("smallest", "median", "largest") if facts[kind]]
        sizes = ", ".join(f"{kind} {facts[kind][0]}×{facts[kind][1]}" for kind in kinds) or "none is readable"
        echo(f"{split}: {facts['images']:,} images; of {facts['looked_at']:,} looked at: {sizes}")
        for name, reason in facts["broken"].items():
            echo(f"  broken: {name}: {reason}")
    per_class = {split: facts["per_class"] for split, facts in found["splits"].items() if facts["per_class"]}
    rows = [(name, *(counts[name] for counts in per_class.values())) for name in found["label_names"]]
    echo_table(rows, ("class", *per_class))


def _sheet_settings(opened: Dataset, recipe: str | None, image_size: int | None) -> RunSettings:
    """Of the run whose first samples a sheet shows."""
    from keras_resnet.architectures import get_architecture
    from keras_resnet.training.settings import make_settings

    network = get_architecture("resnet20" if opened.is_small else "resnet50")
    settings = make_settings(network, opened, recipe=recipe, image_size=image_size)
    batch_size = min(settings.recipe.batch_size, opened.images("train"))
    return replace(settings, recipe=replace(settings.recipe, batch_size=batch_size))


def _write_sheet(opened: Dataset, settings: RunSettings, path: str) -> None:
    """The first samples of the first step that `train` would take, whatever else is unreadable."""
    import tensorflow as tf

    from keras_resnet.data.inspect import contact_sheet
    from keras_resnet.training.inputs import Inputs

    inputs = Inputs.prepare(settings, opened, tf.distribute.get_strategy(), skip_limit=1.0)
    contact_sheet(inputs.training_share(0), opened.label_names, path)


@data.command("pack")
@click.argument("dataset")
@click.argument("output")
@data_dir_option
@click.option(
    "--shards",
    type=COUNT,
    metavar="N",
    default=64,
    show_default=True,
    help="Number of shards of the largest split.",
)
@click.option(
    "--threads", type=COUNT, metavar="N", help="Write N shards at the same time; one per core by default."
)
def pack_command(dataset: str, output: str, data_dir: str | None, shards: int, threads: int | None) -> None:
    """Write a data set as TFRecord shards.

    The shards have the common ImageNet layout. Pass the folder OUTPUT to --dataset afterwards.

    Example:

    \b
        keras-resnet data pack path/to/folders shards/ --shards 128
    """
    start_tensorflow()
    from keras_resnet.data.packing import pack
    from keras_resnet.data.sources import open_dataset
    from keras_resnet.evaluation.progress import progress

    opened = open_dataset(dataset, data_dir=data_dir)
    with progress(opened.name, sum(opened.splits.values())) as advance:
        pack(opened, output, shards=shards, threads=threads, advance=advance)
    echo(output)


@data.command("samples")
@click.argument("dataset")
@click.argument("output")
@data_dir_option
@click.option(
    "--split", metavar="SPLIT", help="Split to take them from; by default test, else val, else train."
)
@click.option(
    "--count", type=COUNT, metavar="N", default=5, show_default=True, help="Number of images to write."
)
def samples_command(dataset: str, output: str, data_dir: str | None, split: str | None, count: int) -> None:
    """Write a few images as PNG files.

    They are spread evenly over the split and go to the folder OUTPUT as LABEL-INDEX.png.

    Example:

    \b
        keras-resnet data samples digits samples/ --count 10
    """
    start_tensorflow()
    from keras_resnet.data.samples import write_samples
    from keras_resnet.data.sources import open_dataset
    from keras_resnet.evaluation import evaluation_split

    opened = open_dataset(dataset, data_dir=data_dir)
    split = split or (evaluation_split(opened) if set(opened.splits) != {"train"} else "train")
    for path in write_samples(opened, split, output, count):
        echo(str(path))
