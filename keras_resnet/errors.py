"""The one kind of error that a user can fix: what is wrong, where, and what to do, in one line."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class UserError(Exception):
    """Something about the input, the files or the machine is wrong. The CLI prints it and exits 1."""

    exit_code = 1


class UsageError(UserError, ValueError):
    """The command or call itself is wrong (unknown name, impossible combination). Exit code 2.

    A ValueError too, as Keras raises for a wrong argument.
    """

    exit_code = 2


def first_line(error: BaseException) -> str:
    """A third-party error in one line: the first of its message, or its kind where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@contextmanager
def unwrapped() -> Iterator[None]:
    """Give a `UserError` of Python code in a graph as itself: TensorFlow puts it into a text about nodes."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if told := re.search(r"\bUserError: (.*)", str(error)):
            raise UserError(told[1]) from error
        raise


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Make the folder of `path`, which is written inside; a refusal of the disk is one line that names it."""
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
