"""What all commands share: errors as one line, JSON on stdout, the options that several of them take."""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from keras_resnet.errors import UserError, first_line
from keras_resnet.pages.blocks import is_number

COUNT = click.IntRange(min=1)


class Command(click.Command):
    """A command with `--debug`, whose errors are one line unless that is given.

    `sections` gives its help several lists of options: {parameter that begins a list: heading}.
    """

    def __init__(self, *args: Any, sections: Mapping[str, str] | None = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.sections = sections or {}
        self.params.append(click.Option(["--debug"], is_flag=True, help="Show the traceback of an error."))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """As click does, but under the headings of `sections`."""
        heading = "Options"
        lists: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            heading = self.sections.get(param.name or "", heading)
            record = param.get_help_record(ctx)
            if record is not None and isinstance(param, click.Option):
                lists.setdefault(heading, []).append(record)
        for heading, records in lists.items():
            with formatter.section(heading):
                formatter.write_dl(records)

    def invoke(self, ctx: click.Context) -> Any:
        """Run it, turning errors into one line and an exit code."""
        debug = ctx.params.pop("debug")
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt:
            _leave("interrupted", 130)
        except BrokenPipeError:  # `keras-resnet … | head` closed the pipe
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(0)
        except Exception as error:
            if debug:
                raise
            if isinstance(error, UserError):
                _leave(f"Error: {error}", error.exit_code)
            told = f"{type(error).__name__}: {first_line(error)}"
            _leave(f"Error: unexpected {told} (run again with --debug for the traceback)", 1)


class Group(click.Group):
    """A group of such commands, listed in the order they were added."""

    command_class = Command

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of a user's work, not of the alphabet."""
        return list(self.commands)


def command(name: str | None = None, **attributes: Any) -> Callable[[Callable[..., Any]], click.Command]:
    """`click.command` with our `Command`."""
    return click.command(name, cls=Command, **attributes)


def _leave(line: str, code: int) -> None:
    echo(line, err=True)
    raise SystemExit(code)


def echo(text: str = "", *, err: bool = False) -> None:
    """Print lines; control characters and bytes that are not valid UTF-8 appear as `\\x1b`."""
    click.echo("".join(_visible(character) for character in text), err=err)


def _visible(character: str) -> str:
    if character == "\n" or unicodedata.category(character) not in ("Cc", "Cs"):
        return character
    # In a file's name Python keeps a byte 0xe9 that is not valid UTF-8 as the surrogate U+DCE9.
    return f"\\x{ord(character) & 0xFF:02x}"


def echo_json(value: Any) -> None:
    """Print one JSON document on stdout."""
    click.echo(json.dumps(value, indent=1))


def echo_table(rows: Sequence[Sequence[Any]], header: Sequence[str]) -> None:
    """Print rows as a plain table on stdout; numbers are right-aligned."""
    cells = [list(header), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    right = [all(is_number(row[i]) for row in cells[1:]) for i in range(len(header))]
    for row in cells:
        parts = [
            cell.rjust(width) if flush else cell.ljust(width)
            for cell, width, flush in zip(row, widths, right, strict=True)
        ]
        echo("  ".join(parts).rstrip())


json_option = click.option("--json", "as_json", is_flag=True, help="Print the answer as one JSON document.")
dataset_option = click.option(
    "--dataset",
    default=None,
    metavar="digits|DIR|NAME",
    help="digits (comes with scikit-learn), a folder with train/ and val/ or test/, each with one folder "
    "per class, or a TFDS name such as cifar10.",
)
data_dir_option = click.option(
    "--data-dir",
    default=None,
    metavar="DIR",
    help="Where TFDS keeps prepared data sets; ~/tensorflow_datasets by default.",
)
recipe_option = click.option(
    "--recipe",
    metavar="NAME",
    help="One of `keras-resnet recipes`; by default the one that fits data and network.",
)
learning_rate_option = click.option(
    "--learning-rate", type=float, metavar="RATE", help="Highest learning rate; not scaled with the batch."
)
hold_out_option = click.option(
    "--hold-out",
    type=click.IntRange(min=0),
    metavar="N",
    default=0,
    help="Take N images out of training and validate on them (5,000 in Sec. 4.2).",
)
gradient_clip_option = click.option(
    "--gradient-clip", type=float, metavar="NORM", help="Largest norm of the whole gradient, such as 1."
)
accumulate_option = click.option(
    "--accumulate",
    type=COUNT,
    metavar="K",
    default=1,
    show_default=True,
    help="Compute each batch in K parts and update once, to save memory.",
)
precision_option = click.option(
    "--precision",
    type=click.Choice(["float32", "mixed_bfloat16", "mixed_float16"]),
    default="float32",
    show_default=True,
    help="Number format of the layers' computations; weights stay float32.",
)
devices_option = click.option(
    "--devices",
    default="all",
    show_default=True,
    metavar="N|all|cpu:K|tpu",
    help="Every GPU (the CPU where there is none), N GPUs, the CPU as K devices, or a TPU.",
)

skip_limit_option = click.option(
    "--skip-limit",
    type=click.FloatRange(0, 1),
    metavar="SHARE",
    default=0.05,
    show_default=True,
    help="Stop when a larger share of a split's images is unreadable.",
)


def start_tensorflow() -> None:
    """Import TensorFlow without its notices; called first by every command that needs it."""
    from keras_resnet.quiet import import_tensorflow

    import_tensorflow()
