"""Learning-rate schedules: plain Python, asked once per step, with a state that a checkpoint can keep."""

from __future__ import annotations

import math
from typing import Any

from keras_resnet.recipes import Recipe

SLOW_START_RATE = 0.01  # Sec. 4.2: 0.1 is too large for 110 layers to start converging
SLOW_START_UNTIL = 80.0  # training error in percent below which the full rate takes over
PLATEAU_PATIENCE = 5  # evaluations without improvement; the paper does not say what a plateau is
PLATEAU_MARGIN = 0.1  # percentage points that count as improvement
PLATEAU_DROPS = 3


class Schedule:
    """The learning rate of every step of one run.

    The paper's two adaptive rules need what happened so far: the plateau rule (Sec. 3.4) watches the
    validation error, the slow start (Sec. 4.2) the training error. Both live in `state`.
    """

    def __init__(self, recipe: Recipe, *, total_steps: int, steps_per_epoch: int, depth: int):
        scale = recipe.batch_size / recipe.reference_batch if recipe.reference_batch else 1.0
        self.peak = recipe.learning_rate * scale
        self.recipe = recipe
        self.total_steps = total_steps
        self.warmup_steps = min(round(recipe.warmup_epochs * steps_per_epoch), total_steps // 2)
        slow = recipe.slow_start_depth is not None and depth >= recipe.slow_start_depth
        self.state: dict[str, Any] = {"slow_start": slow, "best": None, "stale": 0, "drops": 0}

    def rate(self, step: int) -> float:
        """Learning rate of step `step`, counted from 0."""
        if self.state["slow_start"]:
            return min(SLOW_START_RATE, self.peak)
        if step < self.warmup_steps:
            return self.peak * (step + 1) / self.warmup_steps
        recipe = self.recipe
        if recipe.schedule == "plateau":
            return self.peak * 0.1 ** self.state["drops"]
        if recipe.schedule == "drops":
            passed = sum(step >= round(share * self.total_steps) for share in recipe.drops)
            return self.peak * 0.1**passed
        progress = (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps)
        if recipe.schedule == "cosine":
            return self.peak * 0.5 * (1.0 + math.cos(math.pi * progress))
        return self.peak * _one_cycle(progress)

    @property
    def watching(self) -> bool:
        """Whether `observe_training` may still change the rate."""
        return bool(self.state["slow_start"])

    def observe_training(self, error: float) -> None:
        """Tell the training error (percent) of the last steps, a window of always the same length."""
        if error < SLOW_START_UNTIL:
            self.state["slow_start"] = False

    def observe_validation(self, error: float) -> None:
        """Tell the validation error (percent) at the end of an epoch."""
        if self.recipe.schedule != "plateau" or self.state["slow_start"]:
            return
        best = self.state["best"]
        if best is None or error < best - PLATEAU_MARGIN:
            self.state.update(best=error, stale=0)
            return
        self.state["stale"] += 1
        if self.state["stale"] >= PLATEAU_PATIENCE and self.state["drops"] < PLATEAU_DROPS:
            self.state["drops"] += 1
            self.state["stale"] = 0


def _one_cycle(progress: float, rise: float = 0.2, floor: float = 0.002) -> float:
    """Linear from 0.1 up to 1 over the share `rise` of the training, then linear down to `floor`."""
    if progress < rise:
        return 0.1 + 0.9 * progress / rise
    return max(floor, (1.0 - progress) / (1.0 - rise))
