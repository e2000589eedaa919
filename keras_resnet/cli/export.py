"""`keras-resnet export`, `predict` and `serve`."""

from __future__ import annotations

import signal
import sys
from typing import Any

import click

from keras_resnet.cli.common import COUNT, command, echo, echo_json, json_option, start_tensorflow


@command()
@click.argument("model")
@click.option("--output", metavar="DIR", help="Folder to export to; exports/NAME by default.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["saved_model", "onnx", "litert"]),
    default="saved_model",
    show_default=True,
    help="saved_model is TensorFlow's; onnx and litert need the extra keras-resnet[convert].",
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16", "float16", "int8"]),
    default="float32",
    show_default=True,
    help="bfloat16 is for saved_model, float16 and int8 are for litert.",
)
@click.option(
    "--images",
    multiple=True,
    metavar="PATH",
    help="Photos, or a folder of them, to compare export and model on and to calibrate int8 on; can be "
    "repeated. By default two photos that come with scikit-learn; int8 needs some of your own.",
)
@click.option("--ten-crop", is_flag=True, help="Add the endpoint classify_10_crop, which averages ten crops.")
@json_option
def export(
    model: str,
    output: str | None,
    format_: Any,
    precision: str,
    images: tuple[str, ...],
    ten_crop: bool,
    as_json: bool,
) -> None:
    """Export a model as SavedModel, ONNX or LiteRT.

    MODEL is a run folder or a .keras file. Batch normalisation is folded into the convolutions, and the
    answers of the export are compared with the model's. A SavedModel goes to DIR/VERSION, a new version each
    time, in TensorFlow Serving's layout. It needs nothing but TensorFlow: `serving_default` takes pixels,
    `classify_bytes` takes JPEG or PNG files.

    Examples:

    \b
        keras-resnet export runs/resnet20-digits
        keras-resnet export resnet50.keras --precision bfloat16 --output served/resnet50
    """
    # An exit, unlike the signal, leaves nothing half-written.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    start_tensorflow()
    from keras_resnet.export import export_model
    from keras_resnet.export.parity import TOLERANCES

    result = export_model(
        model, output, format=format_, precision=precision, images=images, ten_crop=ten_crop
    )
    if as_json:
        echo_json(result.to_json())
        return
    echo(
        f"{result.path}: {result.format}, {result.precision}, {result.bytes / 1e6:.1f} MB; "
        f"same top class on {100 * result.top1_agreement:.1f} % of {result.compared_on}, "
        f"largest difference of a probability {result.max_difference:.2g}, relative error "
        f"{result.relative_error:.2g} (allowed {TOLERANCES[result.precision]:g})"
    )
    if result.model_error is not None:
        echo(f"top-1 error {result.export_error:.2f} % instead of {result.model_error:.2f} %")


@command()
@click.argument("model")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option(
    "--top", type=COUNT, metavar="K", default=5, show_default=True, help="Classes to show for each image."
)
@json_option
def predict(model: str, images: tuple[str, ...], top: int, as_json: bool) -> None:
    """Classify images (JPEG, PNG, BMP, GIF).

    MODEL is a run folder, a .keras file or an export. IMAGE is a file, a folder, or - for bytes on stdin.
    Files that are not images are reported on stderr and the exit code is 1; the others are still classified.

    Examples:

    \b
        keras-resnet predict exports/resnet20-digits seven.png
        keras-resnet predict resnet50.keras photos/ --top 3 --json
    """
    start_tensorflow()
    from keras_resnet.serving.predicting import predictions

    results = []
    for result in predictions(model, images, top=top):
        results.append(result)
        if "error" in result:
            echo(f"Error: {result['error']}", err=True)
        elif not as_json:
            best = (f"{entry['label']} {100 * entry['probability']:.1f} %" for entry in result["top"])
            echo(f"{result['image']}: {', '.join(best)}")
    if as_json:
        echo_json(results)
    if any("error" in result for result in results):
        raise SystemExit(1)


@command()
@click.argument("model")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    default=8501,
    show_default=True,
    help="Port to listen on; 0 takes a free one.",
)
@click.option(
    "--host",
    metavar="ADDRESS",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; the default is reachable from this machine only.",
)
@click.option(
    "--name", metavar="NAME", help="Model's name in the URL; that of its folder or file by default."
)
def serve(model: str, port: int, host: str, name: str | None) -> None:
    """Serve a model over HTTP, with a page to try it on.

    MODEL is a run folder, a .keras file or an export. The REST API is TensorFlow Serving's, which is what
    to use in production. Needs the extra keras-resnet[serve].

    Example:

    \b
        keras-resnet serve exports/resnet20-digits --port 8501
    """
    # As process 1 of a container it would not notice the signal before the model is loaded.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    start_tensorflow()
    from keras_resnet.serving.server import serve as run_server

    run_server(model, host=host, port=port, name=name)
