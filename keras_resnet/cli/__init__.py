"""The command `keras-resnet`: parses, calls, prints. Every command imports what it needs when it runs."""

from __future__ import annotations

import io
import sys

import click

import keras_resnet
from keras_resnet.cli.common import Group
from keras_resnet.cli.data import data
from keras_resnet.cli.evaluate import compare, ensemble, evaluate, explain
from keras_resnet.cli.export import export, predict, serve
from keras_resnet.cli.models import models, recipes
from keras_resnet.cli.paper import paper, report
from keras_resnet.cli.recalibrate import recalibrate
from keras_resnet.cli.train import train
from keras_resnet.cli.weights import export_weights, import_weights


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(keras_resnet.__version__, prog_name="keras-resnet")
def main() -> None:
    """Deep residual networks (He, Zhang, Ren, Sun 2015): train, evaluate, export, predict.

    Start here:

    \b
        keras-resnet train --depth 20          train on scikit-learn's digits, no network needed
        keras-resnet evaluate runs/resnet20-digits
        keras-resnet export runs/resnet20-digits
        keras-resnet data samples digits samples
        keras-resnet predict exports/resnet20-digits samples

    Answers go to stdout (with --json as one JSON document), everything else to stderr. Exit codes: 0
    done, 2 wrong usage, 1 anything else, 128 + signal when interrupted.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files need not be UTF-8
        sys.stdout.reconfigure(errors="backslashreplace")


for command in (
    models,
    recipes,
    train,
    evaluate,
    ensemble,
    compare,
    explain,
    recalibrate,
    export,
    predict,
    serve,
    import_weights,
    export_weights,
    data,
    paper,
    report,
):
    main.add_command(command)
