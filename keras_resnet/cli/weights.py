"""`keras-resnet import-weights` and `export-weights`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from keras_resnet.cli.common import COUNT, command, echo, start_tensorflow
from keras_resnet.errors import UsageError


class Triple(click.ParamType):
    """Three numbers with commas between them: R,G,B."""

    name = "R,G,B"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Parse it."""
        if isinstance(value, tuple):
            return value
        try:
            red, green, blue = (float(part) for part in value.split(","))
        except ValueError:
            self.fail(f"{value!r} is not three numbers such as 123.675,116.28,103.53", param, ctx)
        return (red, green, blue)


@command("import-weights")
@click.argument("file")
@click.option(
    "--name",
    required=True,
    metavar="NETWORK",
    help="Network that the weights belong to: resnet50, vgg16, resnet20, …",
)
@click.option("--classes", type=COUNT, metavar="N", help="Fail unless the file has N classes.")
@click.option(
    "--shortcut",
    type=click.Choice(["A", "B", "C"]),
    help="Shortcut option of the file's network (Sec. 3.3); by default what the file says, else as in "
    "`keras-resnet models`.",
)
@click.option(
    "--downsample",
    type=click.Choice(["1x1", "3x3"]),
    help="Convolution of its bottlenecks that has the stride; by default what the file says, else 3x3 for "
    "torch and 1x1 for keras.applications.",
)
@click.option("--mean", type=Triple(), help="Mean subtracted from its inputs, in units of 0…255.")
@click.option("--std", type=Triple(), help="Deviation that they were then divided by, in units of 0…255.")
@click.option(
    "--padding",
    type=click.Choice(["both", "end"]),
    help="Where option A pads the zero channels: on both sides (both) or at the end (end).",
)
@click.option("--label-names", metavar="FILE", help="Text file of the class names, one per line.")
@click.option(
    "--output", default="model.keras", show_default=True, metavar="FILE.keras", help="File to write."
)
def import_weights(
    file: str,
    name: str,
    classes: int | None,
    shortcut: Any,
    downsample: Any,
    mean: tuple[float, float, float] | None,
    std: tuple[float, float, float] | None,
    padding: str | None,
    label_names: str | None,
    output: str,
) -> None:
    """Convert weights of other libraries to a .keras file.

    FILE is torchvision's, timm's, keras.applications' or a CIFAR checkpoint: .pth or .th (nothing in the
    pickle is executed), .safetensors, .h5. Wrong depth, missing, surplus and misshapen tensors are listed by
    name.

    Examples:

    \b
        keras-resnet import-weights resnet50-11ad3fa6.pth --name resnet50 --output resnet50.keras
        keras-resnet import-weights resnet20-12fca82f.th --name resnet20 \\
            --mean 123.675,116.28,103.53 --std 58.395,57.12,57.375
    """
    labels = _lines(label_names) if label_names else None
    start_tensorflow()
    from keras_resnet.weights import import_weights as run_import

    path = run_import(
        file,
        name,
        classes=classes,
        mean=mean,
        std=std,
        label_names=labels,
        shortcut=shortcut,
        downsample=downsample,
        padding=padding,
        output=output,
    )
    echo(str(path))


def _lines(file: str) -> list[str]:
    if not Path(file).is_file():
        raise UsageError(f"no file {file} with label names")
    try:
        text = Path(file).read_text(encoding="utf-8-sig")  # Windows' editors begin with a mark
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} with label names is not UTF-8 text") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


@command("export-weights")
@click.argument("model")
@click.option(
    "--to",
    "target",
    type=click.Choice(["torch"]),
    default="torch",
    show_default=True,
    help="Library whose names and layout the file gets; torch is torchvision.",
)
@click.argument("file", metavar="FILE.safetensors")
def export_weights(model: str, target: str, file: str) -> None:
    """Write a model's weights in torchvision's layout.

    MODEL is a run folder or a .keras file. Where torchvision has the same network, its model loads the
    result.

    Example:

    \b
        keras-resnet export-weights resnet50.keras --to torch resnet50.safetensors
    """
    start_tensorflow()
    from keras_resnet.weights import export_weights as run_export

    echo(str(run_export(model, to=target, output=file)))
