"""Figure 7: how strongly each 3×3 layer responds, after batch normalisation, before ReLU and addition."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_resnet.data.pipeline import evaluation_batches
from keras_resnet.data.skips import SkipLog
from keras_resnet.data.sources import Dataset, open_dataset, same_data
from keras_resnet.errors import UserError
from keras_resnet.evaluation import evaluation_split
from keras_resnet.evaluation.protocols import data_of, view_of
from keras_resnet.layers import BN_EPSILON, fused_batch_norm
from keras_resnet.paper.folders import RESPONSES
from keras_resnet.saving import LoadedModel, load_model
from keras_resnet.scanned import ScannedBlocks
from keras_resnet.training.checkpoints import write_atomically
from keras_resnet.training.record import recorded_settings

IMAGES = 1000
BATCH = 50


@dataclass(frozen=True)
class Responses:
    """Standard deviations of the 3×3 layers' responses, in the order of the forward pass.

    Over all images, positions and channels, batch normalisation with its stored statistics.
    """

    network: str
    layers: tuple[str, ...]
    stds: tuple[float, ...]
    images: int

    def to_json(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "network": self.network,
            "images": self.images,
            "layers": list(self.layers),
            "std": [round(std, 6) for std in self.stds],
        }


def measure_responses(model: keras.Model, batches: Iterable[Any]) -> Responses:
    """Run `batches` of images [N, H, W, 3] (RGB 0…255) through a network and measure its 3×3 layers.

    Scanned stages are measured block by block, as if they were unrolled.

    Raises:
        UserError: the network has no 3×3 layer followed by batch normalisation.
    """
    probes = _probes(model)
    if not probes:
        raise UserError(f"{model.name} has no 3×3 layers with batch normalisation; is it one of ours?")
    names = [name for probe in probes for name in probe.names]
    inside = keras.Model(model.input, [probe.tensor for probe in probes])

    @tf.function
    def moments(images: Any) -> Any:
        # Sums, not the activations: a thousand layers' activations would not fit in memory.
        outputs = inside(images, training=False)
        outputs = outputs if isinstance(outputs, list) else [outputs]
        sums = [row for probe, y in zip(probes, outputs, strict=True) for row in probe.sums(y)]
        return tf.stack(sums)

    total = np.zeros((len(names), 3))
    images = 0
    for batch in batches:
        total += moments(batch).numpy().astype(np.float64)
        images += int(batch.shape[0])
    if not images:
        raise UserError("no images to measure responses on")
    count, mean = total[:, 0], total[:, 1] / total[:, 0]
    stds = np.sqrt(np.maximum(total[:, 2] / count - mean**2, 0.0))
    return Responses(model.name, tuple(names), tuple(map(float, stds)), images)


def run_responses(
    model: str | os.PathLike[str],
    dataset: Dataset,
    *,
    keep: bool = True,
    skip_limit: float = 0.05,
    saved: LoadedModel | None = None,
) -> Responses:
    """Measure a run folder or a `.keras` file on the first test images.

    Args:
        model: the folder or the file.
        dataset: opened.
        keep: write what was measured of a run to responses.json in its folder, for its report.
        skip_limit: the largest accepted share of unreadable images.
        saved: the model, where it has been loaded.

    Raises:
        UserError: there is no readable model, or too many images are unreadable.
    """
    saved = saved or load_model(model)
    split = evaluation_split(dataset)
    view, skips = view_of(saved.info, "single"), SkipLog(skip_limit)
    batches = evaluation_batches(dataset, split, view, batch_size=BATCH, skip_log=skips)
    pictures = batches.map(lambda x, *_: x).unbatch().take(IMAGES).batch(BATCH)
    with skips.watch():
        found = measure_responses(saved.model, pictures)
    skips.check()
    if keep and Path(model).is_dir():
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        data = found.to_json() | {"dataset": dataset.name, "split": split, "date": now}
        write_atomically(Path(model) / RESPONSES, json.dumps(data, indent=1).encode())
    return found


def responses_of(
    models: Sequence[str],
    dataset: str | None = None,
    data_dir: str | None = None,
    held_out: int | None = None,
    skip_limit: float = 0.05,
) -> list[tuple[str, Responses]]:
    """Measure run folders and `.keras` files, each on `dataset` or on what it was trained on.

    `held_out` training images are the validation images (`sources.hold_out`); by default as many as the
    run held out.

    Raises:
        UserError: a model or its data cannot be read, or more than `skip_limit` of the images cannot.
    """
    found = []
    for model in models:
        saved = load_model(model)
        name, trained_on = data_of(saved.info, model, dataset), saved.info.dataset
        own = trained_on is not None and same_data(name, trained_on)
        recorded = recorded_settings(Path(model)) if own else {}
        data = open_dataset(name, data_dir=data_dir, held_out=held_out or recorded.get("hold_out"))
        # The report of a run shows its responses beside its errors: on the data that it was trained on.
        keep = own and os.access(model, os.W_OK)
        responses = run_responses(model, data, keep=keep, skip_limit=skip_limit, saved=saved)
        found.append((model, responses))
    return found


@dataclass(frozen=True)
class _Probe:
    """A tensor inside the network and the (count, sum, sum of squares) of each 3×3 layer behind it."""

    names: tuple[str, ...]
    tensor: Any
    sums: Callable[[Any], list[Any]]


def _probes(model: keras.Model) -> list[_Probe]:
    kernels = {
        layer.name: layer.kernel_size for layer in model.layers if isinstance(layer, keras.layers.Conv2D)
    }
    probes = []
    for layer in model.layers:
        if isinstance(layer, ScannedBlocks):
            stage = layer.name.removesuffix("_blocks")
            names = tuple(
                f"{stage}_block{block + 2}_conv{j + 1}"
                for block in range(layer.blocks)
                for j in range(len(layer.kernels))
                if layer.kernels[j] == 3
            )
            probes.append(_Probe(names, layer.input, partial(_scanned_sums, layer)))
        elif isinstance(layer, keras.layers.BatchNormalization):
            conv = "conv".join(layer.name.rsplit("bn", 1))  # conv1_bn follows conv1_conv, …_bn2 …_conv2
            if kernels.get(conv) == (3, 3):
                probes.append(_Probe((conv,), layer.output, lambda y: [_sums(y)]))
    return probes


def _sums(y: Any) -> Any:
    y = tf.cast(y, tf.float32)
    return tf.stack([tf.cast(tf.size(y), tf.float32), tf.reduce_sum(y), tf.reduce_sum(tf.square(y))])


def _scanned_sums(layer: ScannedBlocks, x: Any) -> list[Any]:
    """The same of every block of a scanned stage, by running its blocks one after the other."""
    found = tf.TensorArray(tf.float32, layer.blocks, element_shape=[layer.kernels.count(3), 3])
    convs = [tf.cast(tf.convert_to_tensor(weight), layer.compute_dtype) for weight in layer.convs]
    norms = [[tf.convert_to_tensor(weight) for weight in norm] for norm in layer.norms]

    def body(i: Any, x: Any, found: Any) -> tuple[Any, Any, Any]:
        def respond(x: Any, j: int) -> Any:
            kernel = tf.gather(convs[j], i)
            y = ops.conv(x, kernel, padding="same", data_format="channels_last")
            gamma, beta, mean, variance = (tf.gather(weight, i) for weight in norms[j])
            return fused_batch_norm(y, gamma, beta, mean, variance, BN_EPSILON, False)[0]

        y, sums = x, []
        last = len(layer.kernels) - 1
        for j in range(last + 1):
            y = respond(y, j)
            if layer.kernels[j] == 3:
                sums.append(_sums(y))
            if j < last:
                y = tf.nn.relu(y)
        if layer.shortcut:
            y = y + (respond(x, last + 1) if layer.projection else x)
        y = tf.nn.relu(y)
        y.set_shape(x.shape)
        return i + 1, y, found.write(i, tf.stack(sums))

    _, _, found = tf.while_loop(
        lambda i, *_: i < layer.blocks, body, (tf.constant(0), x, found), parallel_iterations=1
    )
    return list(tf.unstack(tf.reshape(found.stack(), [-1, 3]), num=layer.blocks * layer.kernels.count(3)))
