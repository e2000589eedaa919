"""The training step and the evaluation step, compiled, under a strategy.

Several steps run per call from Python, so that Python costs nothing at CIFAR sizes; the data is drawn and
the waiting for it timed inside the same graph.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_resnet.errors import UserError
from keras_resnet.recipes import Recipe
from keras_resnet.training.devices import compiled_by_xla
from keras_resnet.training.optimization import SGD, LossScale, WeightAverage


@dataclass(frozen=True)
class Steps:
    """What a call of `Engine.train` did: per step the mean loss and the number of wrong answers."""

    losses: np.ndarray
    wrong: np.ndarray
    seconds: float
    waiting: float  # seconds of them spent waiting for data


class Engine:
    """A model with its optimiser, ready to take steps. `model` returns logits [N, classes].

    Args:
        model: built under `strategy.scope()`.
        recipe: momentum, weight decay, label smoothing, clipping and averaging.
        strategy: gradients are summed and statistics averaged over its replicas.
        accumulate: split each replica's batch into that many parts that pass one after the other; the
            update is that of the whole batch (batch normalisation sees the parts).
    """

    def __init__(
        self, model: keras.Model, recipe: Recipe, strategy: tf.distribute.Strategy, accumulate: int = 1
    ):
        self.model = model
        self.recipe = recipe
        self.strategy = strategy
        self.accumulate = accumulate
        self.classes = model.output_shape[-1]
        with strategy.scope():
            trainable = model.trainable_variables
            self.optimizer = SGD(
                trainable,
                momentum=recipe.momentum,
                weight_decay=recipe.weight_decay,
                nesterov=recipe.nesterov,
                gradient_clip=recipe.gradient_clip,
            )
            moving = [v for v in model.non_trainable_variables if "moving_" in v.name]
            self.average = WeightAverage([*trainable, *moving], recipe.ema) if recipe.ema else None
            half = any(layer.compute_dtype == "float16" for layer in model.layers)
            self.loss_scale = LossScale() if half else None
        # Moving averages of batch normalisation, kept equal on all replicas by averaging them.
        self._moving = [variable.value for variable in moving]
        self._gradients = tf.function(self._loss_and_gradients, jit_compile=compiled_by_xla(strategy) or None)
        self._train = tf.function(self._train_steps, reduce_retracing=True)
        self._evaluate = tf.function(self._evaluate_batch, reduce_retracing=True)

    def train(self, iterator: Iterator[Any], rates: Sequence[float], first_step: int) -> Steps:
        """Take one step per learning rate in `rates`, with the next batches of `iterator`.

        Raises:
            FloatingPointError: the loss of a step is not finite; the exception's argument is that step.
        """
        began = time.perf_counter()
        losses, wrong, waiting = self._train(
            iterator, tf.constant(rates, tf.float32), tf.constant(first_step, tf.int64)
        )
        losses = losses.numpy()
        seconds = time.perf_counter() - began
        if not np.isfinite(losses).all():
            raise FloatingPointError(first_step + int(np.argmin(np.isfinite(losses))))
        return Steps(losses, wrong.numpy(), seconds, float(waiting))

    def _train_steps(self, iterator: Any, rates: tf.Tensor, first_step: tf.Tensor) -> tuple[tf.Tensor, ...]:
        count = tf.shape(rates)[0]
        losses = tf.TensorArray(tf.float32, size=count)
        wrong = tf.TensorArray(tf.float32, size=count)
        waiting = tf.constant(0.0, tf.float64)
        local = self.strategy.experimental_local_results
        for i in tf.range(count):
            asked = tf.timestamp()
            with tf.control_dependencies([asked]):
                batch = next(iterator)
            with tf.control_dependencies(tf.nest.flatten(local(batch))):
                waiting += tf.timestamp() - asked
            step = first_step + tf.cast(i, tf.int64)
            loss, errors = self.strategy.run(self._step, args=(*batch, rates[i], step))
            losses = losses.write(i, local(loss)[0])  # the same on every replica
            wrong = wrong.write(i, local(errors)[0])
        return losses.stack(), wrong.stack(), waiting

    def _step(
        self, images: tf.Tensor, labels: tf.Tensor, rate: tf.Tensor, step: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """One step in one replica; returns the loss and the wrong answers of the whole batch."""
        replica = tf.distribute.get_replica_context()
        replicas = self.strategy.num_replicas_in_sync
        scale = self.loss_scale.scale if self.loss_scale else tf.constant(1.0)
        loss, wrong, gradients = self._accumulated(images, labels, scale / replicas)
        if replicas > 1:
            moving = [variable / replicas for variable in self._moving]
            parts = [loss / replicas, wrong, *gradients, *moving]
            loss, wrong, *parts = replica.all_reduce("SUM", parts)
            gradients, moving = parts[: len(gradients)], parts[len(gradients) :]
            for variable, mean in zip(self._moving, moving, strict=True):
                variable.assign(mean)
        wanted = None
        if self.loss_scale:
            gradients = [gradient / scale for gradient in gradients]
            wanted = tf.reduce_all([tf.reduce_all(tf.math.is_finite(g)) for g in gradients])
            # An overflow at the smallest scale is none: something is not finite by itself.
            loss = tf.where(wanted | (scale > LossScale.LEAST), loss, float("nan"))
            self.loss_scale.update(wanted)
        else:
            # Fused kernels' ReLU can turn NaN into 0, and the loss stays finite; the gradients tell.
            finite = tf.math.is_finite(tf.reduce_sum(gradients[0]))
            loss = tf.where(finite, loss, float("nan"))
        self.optimizer.apply(gradients, rate, wanted)
        if self.average:
            self.average.update(step)
        return loss, wrong

    def _accumulated(
        self, images: tf.Tensor, labels: tf.Tensor, scale: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
        if self.accumulate == 1:
            return self._gradients(images, labels, scale)
        parts = self.accumulate
        image_parts = tf.reshape(images, [parts, -1, *images.shape[1:]])
        label_parts = tf.reshape(labels, [parts, -1, *labels.shape[1:]])
        loss, wrong = tf.constant(0.0), tf.constant(0.0)
        sums = [tf.zeros(variable.shape) for variable in self.model.trainable_variables]
        for i in tf.range(parts):
            part_loss, part_wrong, gradients = self._gradients(image_parts[i], label_parts[i], scale / parts)
            loss, wrong = loss + part_loss / parts, wrong + part_wrong
            sums = [total + gradient for total, gradient in zip(sums, gradients, strict=True)]
        return loss, wrong, sums

    def _loss_and_gradients(
        self, images: tf.Tensor, labels: tf.Tensor, scale: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
        """Mean cross-entropy, wrong answers, and the gradients of the loss times `scale`."""
        variables = [variable.value for variable in self.model.trainable_variables]
        smoothing = self.recipe.label_smoothing
        soft = labels if labels.shape.rank == 2 else tf.one_hot(labels, self.classes)
        hard = tf.argmax(labels, -1, tf.int32) if labels.shape.rank == 2 else labels
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            logits = self.model(images, training=True)
            targets = soft * (1.0 - smoothing) + smoothing / self.classes if smoothing else soft
            loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(targets, logits))
            scaled = loss * scale
        gradients = tape.gradient(scaled, variables, unconnected_gradients="zero")
        wrong = tf.reduce_sum(tf.cast(tf.argmax(logits, -1, tf.int32) != hard, tf.float32))
        return loss, wrong, gradients

    def evaluate(self, batches: Iterable[Any]) -> float:
        """Top-1 error in percent over batches of (images, labels, …), each image counted once.

        `batches` comes from the strategy where it has several replicas (`devices.distribute`).
        """
        wrong = images = 0
        for batch in batches:
            batch_wrong, size = self._evaluate(batch[0], batch[1])
            wrong += int(batch_wrong)
            images += int(size)
        if images == 0:
            raise UserError("no readable image to evaluate on")
        return 100.0 * wrong / images

    def _evaluate_batch(self, images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        def count(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            logits = self.model(images, training=False)
            wrong = tf.argmax(logits, -1, tf.int32) != tf.cast(labels, tf.int32)
            # Not as integers: GPUs of several machines cannot sum those.
            return tf.reduce_sum(tf.cast(wrong, tf.float32)), tf.cast(tf.size(labels), tf.float32)

        wrong, size = self.strategy.run(count, args=(images, labels))
        return self.strategy.reduce("SUM", wrong, None), self.strategy.reduce("SUM", size, None)

    def averaged(self) -> AbstractContextManager[None]:
        """Within it the model has its averaged weights, if the recipe keeps any."""
        return self.average.used() if self.average else nullcontext()

    def _state(self) -> dict[str, Any]:
        named = {variable.path: variable.value for variable in self.model.variables}
        extra = list(self.optimizer.velocities)
        extra += self.average.averages if self.average else []
        extra += [self.loss_scale.scale, self.loss_scale.good_steps] if self.loss_scale else []
        return named | {variable.name.split(":")[0]: variable for variable in extra}

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything that a checkpoint must hold: weights, momentum, averages, loss scale."""
        return {name: variable.numpy() for name, variable in self._state().items()}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """The inverse of `arrays`."""
        for name, variable in self._state().items():
            variable.assign(arrays[name])
