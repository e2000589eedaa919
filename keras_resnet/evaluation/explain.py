"""Grad-CAM (Selvaraju et al. 2017): where in an image the network finds what it says it sees.

It is natural for these networks: the classifier reads nothing but the mean of the last feature map, so
the map weighted by the classifier's own weights shows where a class gets its score from.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_resnet.backbone import features
from keras_resnet.data.images import read_file, view_of
from keras_resnet.errors import UsageError, UserError, writing
from keras_resnet.evaluation.classifier import as_probabilities, open_classifier
from keras_resnet.pages.writing import require_png

SMALLEST_PICTURE = 256  # pixels; much smaller views (CIFAR) are enlarged to it, or nobody would see anything
_OPACITY = 0.55  # of the heat map where it is hottest

# Matplotlib's "inferno" at equal distances: dark to bright, in grey print too.
_COLORS = np.array(
    [(0, 0, 4), (40, 11, 84), (101, 21, 110), (159, 42, 99), (212, 72, 66), (245, 125, 21), (250, 193, 39)]
)


@dataclass(frozen=True)
class Explanation:
    """What `explain` found: the class it explains, the probability the network gives it, the picture."""

    label: str
    probability: float
    output: Path


def explain(
    model_path: str | os.PathLike[str],
    image_path: str | os.PathLike[str],
    output_png: str | os.PathLike[str],
    *,
    label: str | None = None,
) -> Explanation:
    """Write a PNG: the view that the network saw and, beside it, the same under the heat map.

    Args:
        model_path: a run folder or `.keras` file.
        image_path: a JPEG, PNG, BMP or GIF file.
        output_png: the picture to write.
        label: explain this class; the most probable one by default.

    Raises:
        UserError: the model or the image cannot be read, or the picture not be written.
        UsageError: the model has no such class, or the picture's name another ending than .png.
    """
    require_png(output_png)
    classifier = open_classifier(model_path)
    if classifier.model is None:
        raise UserError(
            f"{model_path} is exported and has no layers to look into: explain the run folder or .keras file"
        )
    info = classifier.info
    view = view_of(image_path, read_file(image_path), info)
    if label is not None and label not in info.label_names:
        raise UsageError(f"{model_path} has no class {label!r}; it has {', '.join(info.label_names[:20])}")
    labels = None if label is None else [info.label_names.index(label)]
    found = look_inside(classifier.model)(view[None], labels)
    probabilities, heatmap = found["probabilities"][0].numpy(), found["heatmap"][0].numpy()
    chosen = int(probabilities.argmax()) if labels is None else labels[0]
    _write(np.concatenate([enlarged(view), overlay(view, heatmap)], axis=1), Path(output_png))
    return Explanation(info.label_names[chosen], float(probabilities[chosen]), Path(output_png))


def look_inside(model: keras.Model) -> Callable[..., dict[str, tf.Tensor]]:
    """What a network sees in many images, in one pass.

    Returns:
        A function (images [N, H, W, 3] of any number type, labels [N] or None) → the stages' maps by name
        ("C2", …, as `features` calls them), "features" [N, channels], which the classifier sees, "heatmap"
        [N, h, w] float32 in 0…1 (the last map's channels weighted by the mean gradient of the logit of
        the label or most probable class, negative sums cut off) and "probabilities" [N, classes] float32. It
        may be called inside a `tf.function`.

    Raises:
        UserError: the network is not one of ours, or has no classifier.
    """
    outputs = features(model).output
    classifier = model.layers[-1]
    if not isinstance(classifier, keras.layers.Dense):
        raise UserError(f"{model.name} has no classifier to explain: it ends in {classifier.name}")
    last = max(outputs)  # C5, or C4 of a CIFAR network
    inside = keras.Model(model.input, {**outputs, "features": classifier.input})

    def look(images: Any, labels: Any = None) -> dict[str, tf.Tensor]:
        images = tf.cast(images, tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(images)  # so that the maps are recorded even where no weight is trainable
            found = inside(images, training=False)
            logits = tf.cast(found["features"], tf.float32) @ tf.convert_to_tensor(classifier.kernel)
            if classifier.use_bias:
                logits += classifier.bias
            chosen = tf.argmax(logits, axis=1) if labels is None else labels
            # No image's score depends on another image, so the sum's gradient is that of each.
            scores = tf.gather(logits, chosen, axis=1, batch_dims=1)
        gradients = tf.cast(tape.gradient(scores, found[last]), tf.float32)
        weights = tf.reduce_mean(gradients, axis=(1, 2), keepdims=True)
        heat = tf.nn.relu(tf.reduce_sum(tf.cast(found[last], tf.float32) * weights, axis=-1))
        hottest = tf.reduce_max(heat, axis=(1, 2), keepdims=True)
        return {
            **found,
            "heatmap": tf.math.divide_no_nan(heat, hottest),
            "probabilities": as_probabilities(classifier.activation(logits), classifier),
        }

    return look


def overlay(view: np.ndarray, heatmap: np.ndarray) -> np.ndarray:
    """A view [S, S, 3] uint8 under its heat map [h, w] in 0…1; the hotter, the more colour covers it."""
    picture = enlarged(view).astype(np.float32)
    heat = tf.image.resize(heatmap[..., None], picture.shape[:2], method="bicubic").numpy()
    heat = np.clip(heat, 0.0, 1.0)
    position = heat[..., 0] * (len(_COLORS) - 1)
    steps = np.arange(len(_COLORS))
    color = np.stack([np.interp(position, steps, _COLORS[:, channel]) for channel in range(3)], axis=-1)
    strength = _OPACITY * (0.35 + 0.65 * heat)
    return np.round(picture * (1 - strength) + color * strength).astype(np.uint8)


def enlarged(view: np.ndarray) -> np.ndarray:
    """A view, its pixels repeated to `SMALLEST_PICTURE` or more where it has less than half of that."""
    times = -(-SMALLEST_PICTURE // min(view.shape[:2])) if min(view.shape[:2]) < SMALLEST_PICTURE // 2 else 1
    return view.repeat(times, axis=0).repeat(times, axis=1)


def _write(picture: np.ndarray, path: Path) -> None:
    from PIL import Image

    with writing(path):
        Image.fromarray(picture).save(path, format="PNG")
