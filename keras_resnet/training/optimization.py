"""SGD with momentum as the paper used it, loss scaling, and the average of the weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import tensorflow as tf


class SGD:
    """v ← m·v + lr·(g + λ·w);  w ← w − v.  One fused kernel per variable (Sec. 3.4).

    Weight decay λ is part of the gradient and acts on the weights of convolutions and fully connected
    layers only, not on biases nor on batch normalisation. With Nesterov momentum, w ← w − (m·v + lr·g).
    Create it under the strategy's scope; call `apply` in a replica.
    """

    def __init__(
        self,
        variables: Sequence[Any],
        *,
        momentum: float,
        weight_decay: float,
        nesterov: bool = False,
        gradient_clip: float | None = None,
    ):
        self.variables = [getattr(variable, "value", variable) for variable in variables]
        self.decays = [weight_decay if is_decayed(variable) else 0.0 for variable in variables]
        self.momentum = momentum
        self.nesterov = nesterov
        self.gradient_clip = gradient_clip
        self.velocities = [
            tf.Variable(tf.zeros(variable.shape), trainable=False, name=f"momentum/{variable.path}")
            for variable in variables
        ]

    def apply(self, gradients: Sequence[tf.Tensor], rate: tf.Tensor, wanted: tf.Tensor | None = None) -> None:
        """One step with gradients that are already summed over the replicas; skipped where not `wanted`."""
        if self.gradient_clip is not None:
            gradients, _ = tf.clip_by_global_norm(gradients, self.gradient_clip)
        replica = tf.distribute.get_replica_context()
        args = (list(gradients), rate) if wanted is None else (list(gradients), rate, wanted)
        replica.merge_call(self._update_all, args=args)

    def _update_all(
        self, strategy: tf.distribute.Strategy, gradients: list[Any], rate: Any, wanted: Any = None
    ) -> None:
        rows = zip(self.variables, self.velocities, gradients, self.decays, strict=True)
        for variable, velocity, gradient, decay in rows:
            args: tuple[Any, ...] = (velocity, gradient, rate)
            if wanted is not None:
                args = (*args, wanted)
            strategy.extended.update(variable, self._updater(decay), args=args, group=False)

    def _updater(self, decay: float) -> Callable[..., Any]:
        def update(variable: Any, velocity: Any, gradient: Any, rate: Any, wanted: Any = None) -> Any:
            def step() -> Any:
                decayed = gradient + decay * variable if decay else gradient
                tf.raw_ops.ResourceApplyKerasMomentum(
                    var=variable.handle,
                    accum=velocity.handle,
                    lr=rate,
                    grad=decayed,
                    momentum=self.momentum,
                    use_nesterov=self.nesterov,
                )
                return tf.constant(True)

            return step() if wanted is None else tf.cond(wanted, step, lambda: tf.constant(False))

        return update


def is_decayed(variable: Any) -> bool:
    """Whether weight decay acts on a Keras variable: kernels yes, biases and batch normalisation no."""
    return str(variable.name).endswith("kernel")


class LossScale:
    """Dynamic loss scaling for float16: halved on overflow, doubled after 2,000 steps without one."""

    GROW_AFTER = 2000
    LEAST = 1.0

    def __init__(self) -> None:
        self.scale = tf.Variable(2.0**15, trainable=False, name="loss_scale/scale")
        self.good_steps = tf.Variable(0.0, trainable=False, name="loss_scale/good_steps")

    def update(self, finite: tf.Tensor) -> None:
        """Tell whether the last gradients were finite (the same answer on every replica)."""
        grow = self.good_steps + 1.0 >= self.GROW_AFTER
        grown = tf.where(grow, self.scale * 2.0, self.scale)
        steps = tf.where(grow, 0.0, self.good_steps + 1.0)
        self._assign(self.scale, tf.where(finite, grown, tf.maximum(self.scale * 0.5, self.LEAST)))
        self._assign(self.good_steps, tf.where(finite, steps, 0.0))

    @staticmethod
    def _assign(variable: tf.Variable, value: tf.Tensor) -> None:
        def assign(strategy: tf.distribute.Strategy, value: Any) -> None:
            strategy.extended.update(variable, lambda v, x: v.assign(x), args=(value,), group=False)

        tf.distribute.get_replica_context().merge_call(assign, args=(value,))


class WeightAverage:
    """Exponential moving average of weights and statistics, warmed up over the first steps."""

    def __init__(self, variables: Sequence[Any], decay: float):
        self.variables = [getattr(variable, "value", variable) for variable in variables]
        self.decay = decay
        self.averages = [
            tf.Variable(variable.value, trainable=False, name=f"average/{variable.path}")
            for variable in variables
        ]

    def use(self) -> None:
        """Put the averages in place of the variables."""
        for variable, average in zip(self.variables, self.averages, strict=True):
            variable.assign(average)

    @contextmanager
    def used(self) -> Iterator[None]:
        """The averages in place of the variables, for the time being."""
        last = [tf.identity(variable) for variable in self.variables]
        self.use()
        try:
            yield
        finally:
            for variable, value in zip(self.variables, last, strict=True):
                variable.assign(value)

    def update(self, step: tf.Tensor) -> None:
        """Move towards the weights as they are after step number `step` (from 0)."""
        passed = tf.cast(step, tf.float32)
        decay = tf.minimum(self.decay, (1.0 + passed) / (10.0 + passed))

        def assign(strategy: tf.distribute.Strategy, decay: Any) -> None:
            for average, variable in zip(self.averages, self.variables, strict=True):
                strategy.extended.update(
                    average, lambda a, v, d: a.assign_sub((1.0 - d) * (a - v)), (variable, decay), group=False
                )

        tf.distribute.get_replica_context().merge_call(assign, args=(decay,))
