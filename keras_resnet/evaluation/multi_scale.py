"""The paper's best test (Sec. 3.4): fully convolutional, on whole images at several sizes, and mirrored.

Where scores are averaged: the classifier is applied at every position of the last feature map, a 1×1
convolution; its *logits* are averaged over the positions, which gives the softmax what it was trained
on. The classifier being linear, that mean equals the classifier of the mean feature: a network that ends
in global average pooling is its own fully convolutional form. Over sizes and mirror images
*probabilities* are averaged, as VGG ([41] of the paper) does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from keras_resnet.data.imagenet import resize_shorter_side
from keras_resnet.errors import UserError
from keras_resnet.evaluation.classifier import Classifier, probabilities_of
from keras_resnet.evaluation.replicas import Replicated
from keras_resnet.evaluation.running import Rows
from keras_resnet.layers import InputNormalization

MAX_ASPECT = 16  # of an image; longer strips are cut to their middle, for their memory would be without bound
BUFFER_BYTES = 512 * 2**20  # images that wait for others of their shape

Batch = list[tuple[list[Any], int, int]]  # ([image at each size], label, index)


def score_images(
    images: Any,
    classifier: Classifier,
    sizes: Sequence[int],
    done: np.ndarray,
    pixels: int,
    strategy: Any = None,
) -> Iterator[tuple[int, Callable[[], Rows]]]:
    """Score a `tf.data.Dataset` of (image [H, W, 3] uint8, label, index), but for those in `done`.

    Images whose shapes agree at every size make a batch. `pixels` bounds a step: images · height ·
    width, mirror images included.
    """
    run = Replicated(with_mirror_image(dense_probabilities(classifier)), strategy)
    resized = images.map(partial(_at_sizes, sizes=sizes), num_parallel_calls=tf.data.AUTOTUNE)
    for batch in equal_shapes(resized.prefetch(16), done, pixels):
        index = np.array([number for _, _, number in batch], np.int64)
        labels = np.array([label for _, label, _ in batch], np.int32)
        waiting = []
        for size in range(len(sizes)):
            pictures = [pyramid[size] for pyramid, _, _ in batch]
            share = step_images(pictures[0].shape, pixels)
            chunks = [pictures[start : start + share] for start in range(0, len(pictures), share)]
            waiting.append([run(tf.stack(chunk)) for chunk in chunks])
        yield len(batch), partial(_mean_over_sizes, index, labels, waiting)


def _mean_over_sizes(index: np.ndarray, labels: np.ndarray, waiting: list[list[Any]]) -> Rows:
    per_size = [np.concatenate([result() for result in chunks]) for chunks in waiting]
    mean = np.stack(per_size).mean(axis=0, dtype=np.float64)
    return index, labels, mean.astype(np.float32)


def _at_sizes(image: Any, label: Any, index: Any, sizes: Sequence[int]) -> tuple[tuple[Any, ...], Any, Any]:
    image = middle(image)
    return tuple(resize_shorter_side(image, size) for size in sizes), label, index


def middle(image: Any) -> Any:
    """[H, W, 3] cut so that no side is more than `MAX_ASPECT` times the other."""
    height, width = tf.unstack(tf.shape(image)[:2])
    tall, wide = tf.minimum(height, width * MAX_ASPECT), tf.minimum(width, height * MAX_ASPECT)
    top, left = (height - tall) // 2, (width - wide) // 2
    return image[top : top + tall, left : left + wide]


def step_images(shape: Sequence[int], pixels: int) -> int:
    """How many images of `shape` (height, width, 3) make a step, each with its mirror image."""
    return max(1, pixels // (2 * shape[0] * shape[1]))


def equal_shapes(images: Iterable[Any], done: np.ndarray, pixels: int) -> Iterator[Batch]:
    """Batches of images that have the same shape at every size; the last ones are what was left over."""
    skip = set(done.tolist())
    waiting: dict[tuple[Any, ...], Batch] = defaultdict(list)
    held = 0
    for pyramid, label, index in images:
        number = int(index)
        if number in skip:
            continue
        shapes = tuple(tuple(picture.shape) for picture in pyramid)
        waiting[shapes].append((list(pyramid), int(label), number))
        held += _bytes(shapes)
        smallest = min(shapes)
        full = len(waiting[shapes]) >= step_images(smallest, pixels)
        while full or held > BUFFER_BYTES:
            fullest = shapes if full else max(waiting, key=lambda key: len(waiting[key]))
            batch = waiting.pop(fullest)
            held -= len(batch) * _bytes(fullest)
            yield batch
            full = False
    yield from waiting.values()


def _bytes(shapes: tuple[Any, ...]) -> int:
    return sum(int(np.prod(shape)) for shape in shapes)


def with_mirror_image(predict: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Probabilities averaged over images [n, H, W, 3] and their mirror images."""

    def both(images: Any) -> Any:
        probabilities = predict(tf.concat([images, tf.reverse(images, axis=[2])], axis=0))
        return tf.reduce_mean(tf.stack(tf.split(probabilities, 2)), axis=0)

    return both


def dense_probabilities(classifier: Classifier) -> Callable[[Any], Any]:
    """The fully convolutional form: images of any size → softmax of the logits' mean over positions.

    Raises:
        UserError: an exported model that takes only one size of images.
    """
    info, model = classifier.info, classifier.model
    if model is None:
        if classifier.image_shape != (None, None):
            raise UserError(
                f"{classifier.name} takes images of one size only: for multi-scale views evaluate the run "
                "folder or .keras file that it was exported from"
            )
        return classifier.predict
    if info.architecture.block == "vgg":
        return _dense_vgg(model)
    if tuple(model.input_shape[1:3]) == (None, None) and not _mean_images(model):
        return classifier.predict
    return probabilities_of(_for_any_size(model), model)


def _mean_images(model: keras.Model) -> bool:
    return any(isinstance(layer, InputNormalization) and len(layer.mean.shape) == 3 for layer in model.layers)


def _for_any_size(model: keras.Model, until: str | None = None) -> keras.Model:
    """The same layers with the same weights behind an input of free size.

    A mean image (Sec. 3.4) has one size, so its mean colour takes its place.
    """
    if until is not None:
        model = keras.Model(model.input, model.get_layer(until).output)

    def keep(layer: keras.layers.Layer) -> keras.layers.Layer:
        if not isinstance(layer, InputNormalization) or len(layer.mean.shape) == 1:
            return layer
        colours = [np.asarray(weight).mean(axis=(0, 1)) for weight in (layer.mean, layer.std)]
        return InputNormalization(*colours, name=layer.name)

    image = layers.Input((None, None, 3), name="image")
    return keras.models.clone_model(model, input_tensors=image, clone_function=keep)


def _dense_vgg(model: keras.Model) -> Callable[[Any], Any]:
    """VGG's first fully connected layer as a convolution as large as its input map, the others as 1×1."""
    pooled = next(layer for layer in model.layers if isinstance(layer, layers.Flatten)).input
    body = _for_any_size(model, pooled._keras_history.operation.name)
    side = tuple(pooled.shape[1:3])
    dense = [model.get_layer(name) for name in ("fc1", "fc2", "predictions")]

    def predict(images: Any) -> Any:
        x = body(tf.cast(images, tf.float32), training=False)
        for layer, shape in zip(dense, (side, (1, 1), (1, 1)), strict=True):
            kernel = tf.cast(tf.convert_to_tensor(layer.kernel), x.dtype)
            kernel = tf.reshape(kernel, [*shape, x.shape[-1], layer.units])
            x = tf.nn.conv2d(x, kernel, 1, "VALID") + tf.cast(tf.convert_to_tensor(layer.bias), x.dtype)
            x = x if layer.name == "predictions" else tf.nn.relu(x)
        return tf.nn.softmax(tf.cast(tf.reduce_mean(x, axis=(1, 2)), tf.float32))

    return predict
