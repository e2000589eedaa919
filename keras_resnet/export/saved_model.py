"""A folded network as a SavedModel: written, read back, and its endpoints compared with one another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_resnet.data.views import EvalView, image_to_view
from keras_resnet.errors import UserError
from keras_resnet.export.folding import FoldedNetwork
from keras_resnet.export.graph import Forward
from keras_resnet.export.parity import compare
from keras_resnet.export.signatures import Signatures
from keras_resnet.saving import ModelInfo

_VIEWS: dict[str, Any] = {"classify_bytes": "single", "classify_10_crop": "10-crop"}  # of files


class ExportModule(Signatures):
    """A folded network's endpoints, with its weights as constants."""

    def __init__(
        self,
        network: FoldedNetwork,
        info: ModelInfo,
        precision: str,
        image_shape: tuple[int | None, int | None],
        ten_crop: bool = False,
    ):
        # Loading a SavedModel in Python copies every constant some two dozen times. VGG's first dense layer
        # alone has 411 MB, and gains nothing from being a constant: its kernel is not reordered.
        variables = {
            name: tf.Variable(tf.cast(layer.kernel, precision), trainable=False, name=name)
            for name, layer in network.layers.items()
            if name in ("fc1", "fc2")
        }

        def run(images: tf.Tensor) -> dict[str, tf.Tensor]:
            forward = Forward(network, precision, variables=variables)
            outputs = forward(images)
            fast = forward(images, maps=False) if forward.leaves_out else outputs
            vectors = {"features": outputs.features, "explained": outputs.probabilities}
            heat = {} if outputs.heatmap is None else {"heatmap": outputs.heatmap}
            return {**outputs.maps, **vectors, **heat, "probabilities": fast.probabilities}

        super().__init__(run, info, image_shape, ten_crop)
        self._variables = variables  # saved are those that an attribute holds


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


class Exported:
    """A SavedModel folder read back: the network as a function of images [N, H, W, 3]."""

    def __init__(self, folder: Path):
        self.model = tf.saved_model.load(str(folder))

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Probabilities [N, classes]."""
        return self.ask("serving_default", images=tf.constant(images, tf.float32))["probabilities"]

    def ask(self, endpoint: str, **inputs: tf.Tensor) -> dict[str, np.ndarray]:
        """What an endpoint answers."""
        return {name: value.numpy() for name, value in self.model.signatures[endpoint](**inputs).items()}


def check_endpoints(
    exported: Exported, network: FoldedNetwork, info: ModelInfo, precision: str, images: np.ndarray
) -> None:
    """Compare every other endpoint with `serving_default` on two images: each is a graph of its own.

    Raises:
        UserError: one of them answers for another network.
    """
    images = images[:2]
    files = tf.stack([tf.io.encode_png(image) for image in images])
    head = network.layers["predictions"]
    for endpoint in exported.model.signatures:
        if endpoint in _VIEWS:
            actual = exported.ask(endpoint, image_bytes=files)["probabilities"]
            view = EvalView(_VIEWS[endpoint], info.image_size, info.resize)
            views = [np.reshape(image_to_view(file, view), (-1, *images.shape[1:])) for file in files]
            expected = np.stack([exported(crops).mean(0) for crops in views])
        else:
            answer = exported.ask(endpoint, images=tf.constant(images, tf.float32))
            if endpoint == "features":
                logits = answer["features"] @ head.kernel + head.bias
                answer["probabilities"] = tf.nn.softmax(logits).numpy()
            actual, expected = answer["probabilities"], exported(images)
        if not compare(expected, actual, precision).passed:
            raise UserError(
                f"the export's endpoint {endpoint} does not agree with serving_default, nothing was written"
            )
