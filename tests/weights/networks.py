"""Small helpers for the tests of weights: random states, and comparing networks by their logits."""

from __future__ import annotations

import numpy as np

from keras_resnet.weights.shapes import expected_shapes


def random_array(name: str, shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """Values that no two weights share: random batch-norm statistics too, so that mix-ups show."""
    if name.endswith(("moving_variance", "running_var", "std")):
        return generator.uniform(0.5, 2.0, shape).astype("float32")
    if name.endswith(("gamma", "weight")) and len(shape) == 1:
        return generator.uniform(0.2, 0.8, shape).astype("float32")
    if len(shape) > 1:
        fan_in = np.prod(shape[1:]) if name.endswith("weight") else np.prod(shape[:-1])
        return generator.normal(0, (2 / fan_in) ** 0.5, shape).astype("float32")
    return generator.normal(0, 0.2, shape).astype("float32")


def random_state(architecture, classes=None, image_size=None) -> dict[str, np.ndarray]:
    """A state that the architecture could have."""
    generator = np.random.default_rng(0)
    shapes = expected_shapes(architecture, classes, image_size)
    return {name: random_array(name, shape, generator) for name, shape in shapes.items()}


def pixels(count: int, side: int) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (count, side, side, 3)).astype("uint8")


def assert_equal_logits(ours, theirs) -> None:
    """To 1e-4 of the largest logit's distance from their mean (a constant would agree with anything)."""
    ours, theirs = np.asarray(ours, "float64"), np.asarray(theirs, "float64")
    assert ours.shape == theirs.shape
    spread = np.abs(theirs - theirs.mean()).max()
    assert spread > 1e-2, "these logits tell nothing"
    # Different images must have different logits, else the input would not matter.
    assert len(theirs) == 1 or np.abs(theirs[0] - theirs[1]).max() > 1e-3 * spread
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4 * spread)
