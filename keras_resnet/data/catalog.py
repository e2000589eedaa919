"""TFDS data sets: found, prepared and read, or refused with a line that says what to do."""

from __future__ import annotations

import contextlib
import difflib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from keras_resnet.data.records import Shards
from keras_resnet.errors import UsageError, UserError

_PROBE_SECONDS = 5


class _OfflineError(Exception):
    """A download was needed and there is no network."""


def open_builder(name: str, data_dir: str | None, prepare: bool = True) -> Any:
    """Return the prepared TFDS builder of `name`; downloads and prepares it where necessary.

    Args:
        name: as TFDS takes it: "cifar10", "imagenette/320px-v2", "mnist:3.*.*".
        data_dir: TFDS' folder, None for its default.
        prepare: whether to prepare it; else one that is not prepared is refused.

    Raises:
        UsageError: TFDS has no such data set, configuration or version; it does not classify images.
        UserError: it is not prepared, or cannot be: no network, manual files missing, disk full; or it was
            prepared in another format than TFRecord.
    """
    import tensorflow_datasets as tfds

    builder = _find(name, data_dir)
    image_and_label(builder)  # before anything is downloaded
    if not builder.is_prepared():
        if not prepare:
            raise UserError(f"TFDS data set {name} is not prepared in {builder.data_dir}")
        _prepare(name, builder)
    if not builder.info.splits:
        raise UserError(f"TFDS data set {name} has no splits in {builder.data_path}")
    stored = builder.info.file_format
    if stored not in (None, tfds.core.FileFormat.TFRECORD):  # None: of before there were others
        raise UserError(
            f"TFDS data set {name} in {builder.data_path} is stored as {stored.value}, which is not read "
            "here: name an empty folder with --data-dir to prepare it there as TFRecord"
        )
    return builder


def image_and_label(builder: Any) -> tuple[str, str]:
    """Names of the features that hold the image and its label.

    Raises:
        UsageError: there are none; the data set is not one of labelled images.
    """
    import tensorflow_datasets as tfds

    features = dict(builder.info.features.items()) if builder.info.features else {}
    images = [key for key, f in features.items() if isinstance(f, tfds.features.Image)]
    labels = [key for key, f in features.items() if isinstance(f, tfds.features.ClassLabel)]
    keys = builder.info.supervised_keys
    if keys and keys[0] in images and keys[1] in labels:
        return keys[0], keys[1]
    if images and labels:
        return images[0], labels[0]
    raise UsageError(
        f"TFDS data set {builder.info.full_name} has no image with a class label (features: "
        f"{', '.join(features)}): name one for image classification, such as cifar10"
    )


def shards(builder: Any, split: str) -> Shards:
    """Where the records of a split lie."""
    info = builder.info
    image, label = image_and_label(builder)
    name = "file_name" if "file_name" in info.features else None
    instructions = info.splits[split].file_instructions
    return Shards(
        files=tuple(str(i.filename) for i in instructions),
        skips=tuple(i.skip for i in instructions),
        takes=tuple(i.examples_in_shard if i.take == -1 else i.take for i in instructions),
        image_key=image,
        label_key=label,
        name_key=name,
    )


def _find(name: str, data_dir: str | None) -> Any:
    import tensorflow_datasets as tfds

    try:
        # TFDS would fetch a community's code for NAMESPACE:NAME and run it; names come from model files too.
        if tfds.core.naming.parse_builder_name_kwargs(name)[0].namespace:
            raise UsageError(
                f"{name!r} is a community data set, which runs third-party code: prepare it yourself "
                "and name a folder of class folders"
            )
        return tfds.builder(name, data_dir=data_dir)
    except tfds.core.registered.DatasetNotFoundError:
        base = name.split("/")[0].split(":")[0]
        close = difflib.get_close_matches(base.lower(), tfds.list_builders(), n=4)
        hint = f"did you mean {', '.join(close)}?" if close else "TFDS' catalog lists the names"
        raise UsageError(
            f"no data set {name!r}: neither a folder, nor digits, nor a name that TFDS knows; {hint}"
        ) from None
    except UsageError:
        raise
    except (ValueError, AssertionError, KeyError) as error:
        # TFDS names the configurations or versions there are, over many lines.
        reason = " ".join(str(error).split("Failed to construct dataset")[-1].split())
        raise UsageError(f"TFDS cannot open {name!r}: {reason[:300]}") from None


def _prepare(name: str, builder: Any) -> None:
    root = Path(builder.data_dir).parents[len(Path(builder.info.full_name).parts) - 1]
    manual = root / "downloads" / "manual"
    offline = (
        f'no network to download {name}: prepare it on a machine that has one (python -c "import '
        f"tensorflow_datasets as tfds; tfds.builder('{name}').download_and_prepare()\"), copy its "
        f"folder to {builder.data_dir}, or name the folder that holds it with --data-dir"
    )
    print(f"preparing TFDS data set {name} in {builder.data_dir}", file=sys.stderr)
    try:
        # TFDS reports on stdout, which belongs to the answer of the command.
        with contextlib.redirect_stdout(sys.stderr), _at_once_where_offline():
            builder.download_and_prepare()
    except _OfflineError:
        raise UserError(offline) from None
    except Exception as error:
        if _is_offline(error):
            raise UserError(offline) from None
        # TFDS asserts that these files are there; anything else, such as a full disk, is reported as it is.
        if builder.MANUAL_DOWNLOAD_INSTRUCTIONS and isinstance(error, AssertionError | FileNotFoundError):
            wanted = " ".join(builder.MANUAL_DOWNLOAD_INSTRUCTIONS.split())
            raise UserError(
                f"TFDS cannot download {name}: put its files into {manual} yourself ({wanted[:240]})"
            ) from error
        reason = " ".join(str(error).split())[:240] or type(error).__name__
        raise UserError(f"TFDS could not prepare {name} in {builder.data_dir}: {reason}") from error


def _is_offline(error: BaseException | None) -> bool:
    import requests

    while error is not None:
        if isinstance(error, _OfflineError | requests.ConnectionError | requests.Timeout):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextlib.contextmanager
def _at_once_where_offline() -> Iterator[None]:
    """Let TFDS fail at its first download where there is no network.

    By itself it tries each address ten times, with growing pauses. Files that it has downloaded
    before, or that lie in its manual folder, never come to this.
    """
    from tensorflow_datasets.core.download import downloader

    download = downloader._Downloader.download

    def probe_and_download(self: Any, url: str, *args: Any, **kwargs: Any) -> Any:
        if not _reachable(url):
            raise _OfflineError(url)
        return download(self, url, *args, **kwargs)

    with mock.patch.object(downloader._Downloader, "download", probe_and_download):
        yield


def _reachable(url: str) -> bool:
    """Whether the host answers at all, whatever it says, through the proxies of the environment."""
    import requests

    if not url.startswith("http"):
        return True
    try:
        requests.head(url, timeout=_PROBE_SECONDS)
    except requests.ReadTimeout:
        return True  # slow, but there
    except requests.RequestException:
        return False
    return True
