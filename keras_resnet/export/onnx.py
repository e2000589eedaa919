"""`--format onnx`: the folded network as an ONNX file, by tf2onnx; onnxruntime reads it (extra `convert`)."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_resnet.errors import UserError, first_line
from keras_resnet.export.folding import FoldedNetwork
from keras_resnet.export.graph import Forward

OPSET = 17
METADATA = "keras_resnet"  # the key of the model card inside the file


def write(network: FoldedNetwork, image_shape: tuple[int | None, int | None], path: Path) -> None:
    """Write images [N, H, W, 3] float32 (RGB 0…255) → probabilities [N, classes] as an ONNX file.

    Raises:
        UserError: tf2onnx or onnxruntime is not installed.
    """
    tf2onnx, onnx, _ = (_required(name) for name in ("tf2onnx", "onnx", "onnxruntime"))

    def classify(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probabilities": Forward(network, fused=False)(images, maps=False).probabilities}

    images = tf.TensorSpec([None, *image_shape, 3], tf.float32, name="images")
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    model, _ = tf2onnx.convert.from_function(tf.function(classify, autograph=False), [images], opset=OPSET)
    for name, values in (("images", model.graph.input), ("probabilities", model.graph.output)):
        (value,) = values
        assert value.name == name
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    onnx.save(model, path)


def embed(card: Mapping[str, Any], path: Path) -> None:
    """Put the card into the file's metadata."""
    onnx = _required("onnx")
    model = onnx.load(path)
    model.metadata_props.add(key=METADATA, value=json.dumps(card))
    onnx.save(model, path)


def read_with_card(
    path: Path,
) -> tuple[Callable[[np.ndarray], np.ndarray], dict[str, Any], tuple[int | None, int | None]]:
    """`read`, the card inside the file, and the (height, width) that it takes, None for any.

    Raises:
        UserError: the file cannot be read, or there is no card in it.
    """
    session = _session(path)
    entries = session.get_modelmeta().custom_metadata_map
    if METADATA not in entries:
        raise UserError(f"{path} is not an export of keras-resnet: it has no model card inside")
    height, width = (side if isinstance(side, int) else None for side in session.get_inputs()[0].shape[1:3])
    return _function(session), json.loads(entries[METADATA]), (height, width)


def read(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """The network of an ONNX file as a function of images [N, H, W, 3].

    Raises:
        UserError: onnxruntime is not installed, or the file is broken.
    """
    return _function(_session(path))


def _function(session: Any) -> Callable[[np.ndarray], np.ndarray]:
    (images,) = session.get_inputs()

    def probabilities(batch: np.ndarray) -> np.ndarray:
        return session.run(["probabilities"], {images.name: np.asarray(batch, np.float32)})[0]

    return probabilities


def _session(path: Path) -> Any:
    onnxruntime = _required("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise UserError(f"cannot read {path} as an ONNX file: {first_line(error)}") from error


def _required(module: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise UserError(
            f"ONNX needs the package {module}; install it with: pip install 'keras-resnet[convert]'"
        ) from error
