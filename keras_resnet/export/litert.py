"""`--format litert`: the folded network as a .tflite file for phones and boards, in three precisions.

float16 stores the weights in half the size; int8 quantises weights and activations too, with the ranges that
calibration images show (the input and the probabilities stay float32). Checked with the LiteRT interpreter
(extra `convert`).
"""

from __future__ import annotations

import io
import json
import threading
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_resnet.data.loading import CORES
from keras_resnet.errors import UserError, first_line
from keras_resnet.export.card import CARD
from keras_resnet.export.folding import FoldedNetwork
from keras_resnet.export.graph import Forward


class _Module(tf.Module):
    """The converter takes names of inputs and outputs from a module's signature."""

    def __init__(self, network: FoldedNetwork, size: int):
        super().__init__()

        def classify(images: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"probabilities": Forward(network, fused=False)(images, maps=False).probabilities}

        images = tf.TensorSpec([1, size, size, 3], tf.float32, name="images")
        self.classify = tf.function(classify, input_signature=[images], autograph=False)


def write(network: FoldedNetwork, size: int, precision: str, calibration: np.ndarray, path: Path) -> None:
    """Write images [1, size, size, 3] float32 (RGB 0…255) → probabilities [1, classes] as a .tflite file.

    Args:
        network: what to write.
        size: side of the input.
        precision: "float32", "float16" or "int8".
        calibration: [N, size, size, 3] uint8, typical images; for int8 only.
        path: the file.

    Raises:
        UserError: LiteRT is not installed, or the network cannot be converted.
    """
    _interpreter()  # a missing package is said before the work, not after it
    module = _Module(network, size)
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [module.classify.get_concrete_function()], trackable_obj=module
    )
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if precision == "int8":
        converter.representative_dataset = lambda: _one_by_one(calibration)
    try:
        contents = converter.convert()
    except Exception as error:
        reason = first_line(error)
        raise UserError(f"LiteRT cannot convert this network: {reason}") from error
    path.write_bytes(contents)


def _one_by_one(images: Iterable[np.ndarray]) -> Iterator[list[np.ndarray]]:
    """As float32 all of them would take four times their memory."""
    for image in images:
        yield [image[np.newaxis].astype(np.float32)]


def embed(card: Mapping[str, Any], path: Path) -> None:
    """Append the card and the labels to the file as a zip, as LiteRT's associated files are stored."""
    buffer = io.BytesIO(path.read_bytes())
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(CARD, json.dumps(card))
        archive.writestr("labels.txt", "\n".join(card["model"]["label_names"]) + "\n")
    path.write_bytes(buffer.getvalue())


def read_with_card(path: Path) -> tuple[Callable[[np.ndarray], np.ndarray], dict[str, Any], tuple[int, int]]:
    """`read`, the card inside the file, and the (height, width) that it takes.

    Raises:
        UserError: the file cannot be read, or there is no card in it.
    """
    function = read(path)
    try:
        with zipfile.ZipFile(path) as archive:
            card = json.loads(archive.read(CARD))
            side = card["model"]["image_size"]
            return function, card, (side, side)
    except (OSError, zipfile.BadZipFile, KeyError, ValueError) as error:
        raise UserError(f"{path} is not an export of keras-resnet: it has no model card inside") from error


def read(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """The network of a .tflite file as a function of images [N, H, W, 3].

    Raises:
        UserError: LiteRT is not installed, or the file is broken.
    """
    try:
        interpreter = _interpreter()(model_path=str(path), num_threads=CORES)
        (inputs,), (outputs,) = interpreter.get_input_details(), interpreter.get_output_details()
    except (ValueError, OSError) as error:
        raise UserError(f"cannot read {path} as a LiteRT file: {first_line(error)}") from error
    ready: list[tuple[int, ...]] = []
    alone = threading.Lock()  # an interpreter has one set of tensors; a server has several threads

    def probabilities(images: np.ndarray) -> np.ndarray:
        with alone:
            if ready != [images.shape]:
                interpreter.resize_tensor_input(inputs["index"], images.shape)
                interpreter.allocate_tensors()
                ready[:] = [images.shape]
            interpreter.set_tensor(inputs["index"], images.astype(np.float32))
            interpreter.invoke()
            return interpreter.get_tensor(outputs["index"])

    return probabilities


def _interpreter() -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise UserError(
            "LiteRT needs the package ai-edge-litert; install it with: pip install 'keras-resnet[convert]'"
        ) from error
    return Interpreter
