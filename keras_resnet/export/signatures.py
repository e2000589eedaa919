"""A network's endpoints as TensorFlow functions: the signatures of an export, and what `serve` runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_resnet.data.views import EvalView, image_to_view
from keras_resnet.saving import ModelInfo

TOP = 5


class Signatures(tf.Module):
    """The endpoints, which all call one function `run`, so that its constants exist once.

    TensorFlow inlines it where it is called and drops what the endpoint does not use.
    """

    def __init__(
        self,
        run: Callable[[tf.Tensor], dict[str, tf.Tensor]],
        info: ModelInfo,
        image_shape: tuple[int | None, int | None],
        ten_crop: bool = False,
    ):
        """Prepare them.

        Args:
            run: images [N, H, W, 3] float32 → float32 tensors by name: `probabilities`; where there are
                `features` and the stages' maps (`C2`, …) too, the endpoint `features` gives them; where there
                are `heatmap` and the `explained` probabilities of the same pass, `explain` gives those.
            info: labels and view.
            image_shape: (height, width) of the images, None for any.
            ten_crop: add `classify_10_crop`.
        """
        super().__init__()
        self._info = info
        images = tf.TensorSpec([None, *image_shape, 3], tf.float32, name="images")
        files = tf.TensorSpec([None], tf.string, name="image_bytes")
        self._run = tf.function(run, input_signature=[images], autograph=False)
        computed = self._run.get_concrete_function().structured_outputs
        self.classify = tf.function(self._classify, input_signature=[images], autograph=False)
        self.classify_bytes = tf.function(self._classify_bytes, input_signature=[files], autograph=False)
        if "features" in computed:
            self.features = tf.function(self._features, input_signature=[images], autograph=False)
        if "heatmap" in computed:
            self.explain = tf.function(self._explain, input_signature=[images], autograph=False)
        if ten_crop:
            self.classify_10_crop = tf.function(
                self._classify_10_crop, input_signature=[files], autograph=False
            )

    def signatures(self) -> dict[str, Any]:
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
