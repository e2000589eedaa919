"""An export appears whole or not at all: the version folders of TensorFlow Serving, and single files."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from keras_resnet.errors import UserError
from keras_resnet.loading import SAVED_MODEL

Publish = Callable[[Callable[[Path], None]], Path]


def versions(output: Path) -> list[int]:
    """The version numbers in an export folder, ascending."""
    if not output.is_dir():
        return []
    return sorted(int(entry.name) for entry in output.iterdir() if re.fullmatch(r"[0-9]+", entry.name))


@contextmanager
def new_version(output: Path) -> Iterator[tuple[Path, Publish]]:
    """A temporary folder to write into, and a function that makes it the next version at once.

    That function first calls another one with the version's path, which writes the cards: into the folder,
    and beside it those that shall lie beside the versions. Nothing is left behind if it is not called.

    Raises:
        UserError: `output` cannot be written to, or is a version itself.
    """
    if (output / SAVED_MODEL).exists():
        raise UserError(f"{output} is one version of an export: name the folder of its versions as --output")
    with _scratch(output) as scratch:
        folder = scratch / "version"  # not the scratch folder itself, whose 0700 hides it from other users
        folder.mkdir()

        def publish(describe: Callable[[Path], None]) -> Path:
            while True:
                target = output / str(max(versions(output), default=0) + 1)
                describe(target)
                _sync(scratch)
                try:
                    # Fails where another export has just taken that number: folders with files stay.
                    folder.rename(target)
                except OSError as error:
                    if not target.exists():
                        raise UserError(f"cannot write {target}: {error.strerror or error}") from error
                else:
                    return _with_cards(target, scratch)

        yield folder, publish


@contextmanager
def new_file(output: Path, name: str) -> Iterator[tuple[Path, Publish]]:
    """The same for a file `name` in `output`, which replaces one of that name."""
    with _scratch(output) as scratch:

        def publish(describe: Callable[[Path], None]) -> Path:
            describe(output / name)
            _sync(scratch)
            return _with_cards((scratch / name).replace(output / name), scratch)

        yield scratch / name, publish


def _sync(folder: Path) -> None:
    """Have the disk hold the files before a rename shows them: a power cut leaves all or nothing."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())


def _with_cards(target: Path, scratch: Path) -> Path:
    """Move what else lies in `scratch` beside `target`, which is there: too late for an error."""
    for file in scratch.iterdir():
        try:
            file.replace(target.parent / file.name)
        except OSError as error:
            print(f"{target} is written, {file.name} beside it is not: {error.strerror}", file=sys.stderr)
    return target


@contextmanager
def _scratch(output: Path) -> Iterator[Path]:
    """A folder inside `output`, so that renaming is atomic; both vanish if nothing else is there."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".exporting-", dir=output))
    except OSError as error:
        raise UserError(f"cannot write to {output}: {error.strerror or error}") from error
    try:
        yield temporary
    except OSError as error:
        raise UserError(f"cannot write to {output}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        with suppress(OSError):  # not empty: it was there before, or another export is at work in it
            output.rmdir()
