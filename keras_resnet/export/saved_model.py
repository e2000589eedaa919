"""A folded network as a SavedModel with its endpoints, and the version folders of TensorFlow Serving."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_resnet.data.views import EvalView, image_to_view
from keras_resnet.errors import UserError
from keras_resnet.export.folding import FoldedNetwork
from keras_resnet.export.graph import Forward
from keras_resnet.saving import ModelInfo

TOP = 5
Publish = Callable[[Callable[[Path], None]], Path]


class ExportModule(tf.Module):
    """The network's functions; the constants live in one of them, which the endpoints call.

    TensorFlow inlines that one where it is called and drops what the endpoint does not use.
    """

    def __init__(
        self,
        network: FoldedNetwork,
        info: ModelInfo,
        precision: str,
        image_shape: tuple[int | None, int | None],
        ten_crop: bool = False,
    ):
        super().__init__()
        self._info = info
        images = tf.TensorSpec([None, *image_shape, 3], tf.float32, name="images")
        files = tf.TensorSpec([None], tf.string, name="image_bytes")

        # Loading a SavedModel in Python copies every constant some two dozen times. VGG's first dense layer
        # alone has 411 MB, and gains nothing from being a constant: its kernel is not reordered.
        self._variables = {
            name: tf.Variable(tf.cast(layer.kernel, precision), trainable=False, name=name)
            for name, layer in network.layers.items()
            if name in ("fc1", "fc2")
        }

        def run(images: tf.Tensor) -> dict[str, tf.Tensor]:
            forward = Forward(network, precision, variables=self._variables)
            outputs = forward(images)
            fast = forward(images, maps=False) if forward.leaves_out else outputs
            vectors = {"features": outputs.features, "explained": outputs.probabilities}
            heat = {} if outputs.heatmap is None else {"heatmap": outputs.heatmap}
            return {**outputs.maps, **vectors, **heat, "probabilities": fast.probabilities}

        self._run = tf.function(run, input_signature=[images], autograph=False)
        self.classify = tf.function(self._classify, input_signature=[images], autograph=False)
        self.features = tf.function(self._features, input_signature=[images], autograph=False)
        self.classify_bytes = tf.function(self._classify_bytes, input_signature=[files], autograph=False)
        if network.architecture.block != "vgg":
            self.explain = tf.function(self._explain, input_signature=[images], autograph=False)
        if ten_crop:
            self.classify_10_crop = tf.function(
                self._classify_10_crop, input_signature=[files], autograph=False
            )

    def signatures(self) -> dict[str, Callable[..., Any]]:
        """The endpoints by the names that they are served under."""
        names = ("classify_bytes", "features", "explain", "classify_10_crop")
        optional = {name: getattr(self, name) for name in names if hasattr(self, name)}
        return {"serving_default": self.classify, **optional}

    def _classify(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probabilities": self._run(images)["probabilities"]}

    def _features(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = self._run(images)
        return {name: value for name, value in outputs.items() if name == "features" or name[0] == "C"}

    def _explain(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = self._run(images)
        return {"heatmap": outputs["heatmap"], "probabilities": outputs["explained"]}

    def _classify_bytes(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        view = EvalView("single", self._info.image_size, self._info.resize)
        images = self._views(image_bytes, view, ())
        return self._best(self._run(tf.cast(images, tf.float32))["probabilities"])

    def _classify_10_crop(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        view = EvalView("10-crop", self._info.image_size, self._info.resize)
        crops = tf.cast(self._views(image_bytes, view, (10,)), tf.float32)
        size = self._info.image_size
        probabilities = self._run(tf.reshape(crops, [-1, size, size, 3]))["probabilities"]
        classes = len(self._info.label_names)
        return self._best(tf.reduce_mean(tf.reshape(probabilities, [-1, 10, classes]), 1))

    def _views(self, files: tf.Tensor, view: EvalView, crops: tuple[int, ...]) -> tf.Tensor:
        square = tf.TensorSpec([*crops, view.image_size, view.image_size, 3], tf.uint8)
        return tf.map_fn(lambda contents: image_to_view(contents, view), files, fn_output_signature=square)

    def _best(self, probabilities: tf.Tensor) -> dict[str, tf.Tensor]:
        labels = tf.constant(self._info.label_names)
        best, indices = tf.math.top_k(probabilities, min(TOP, len(self._info.label_names)))
        return {
            "probabilities": probabilities,
            "top_probabilities": best,
            "top_labels": tf.gather(labels, indices),
        }


def write(
    network: FoldedNetwork,
    info: ModelInfo,
    precision: str,
    image_shape: tuple[int | None, int | None],
    ten_crop: bool,
    folder: Path,
) -> list[str]:
    """Write the SavedModel's files into `folder`; the names of its endpoints."""
    module = ExportModule(network, info, precision, image_shape, ten_crop)
    # Names and lines of this process mean nothing to a reader, and are half of a small file.
    options = tf.saved_model.SaveOptions(save_debug_info=False)
    tf.saved_model.save(module, str(folder), signatures=module.signatures(), options=options)
    return list(module.signatures())


def read(folder: Path) -> Callable[[np.ndarray], np.ndarray]:
    """The network of a SavedModel folder as a function of images [N, H, W, 3]."""
    model = tf.saved_model.load(str(folder))

    def probabilities(images: np.ndarray) -> np.ndarray:
        endpoint = model.signatures["serving_default"]  # by way of the model, which must stay alive
        return endpoint(images=tf.constant(images, tf.float32))["probabilities"].numpy()

    return probabilities


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
        UserError: `output` cannot be written to.
    """
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
