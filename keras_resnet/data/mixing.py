"""Beyond the paper, in this order: RandAugment, colour jitter, random erasing, MixUp or CutMix.

They cost much more than the paper's views (docs/data.md), so only recipes that ask for them have them.
They work on whole batches, after the views, and batch k is a function of (seed, k) here too.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from keras_resnet.data.augmentations import ColorJitter, RandAugment, random_erasing, rectangles
from keras_resnet.data.order import Draws, Plan
from keras_resnet.recipes import Recipe

_STEPS_IN_FLIGHT = 2

Batch = tuple[tf.Tensor, tf.Tensor]


def wants_augmentation(recipe: Recipe) -> bool:
    """Whether a recipe uses any of it."""
    return bool(
        recipe.randaugment or recipe.color_jitter or recipe.random_erasing or recipe.mixup or recipe.cutmix
    )


def augment(
    batches: tf.data.Dataset,
    recipe: Recipe,
    classes: int,
    plan: Plan,
    *,
    start_step: int = 0,
    mean: np.ndarray | tuple[float, ...] = (127.5, 127.5, 127.5),
) -> tf.data.Dataset:
    """Apply what the recipe asks for; MixUp or CutMix to each batch, at random, where it has both.

    Several workers draw the same numbers and take their slices of them; partners of MixUp and CutMix
    come from a worker's own share of the batch.

    Args:
        batches: elements (images [b, H, W, 3] RGB 0…255, labels [b] int32), from `start_step` on.
        recipe: `randaugment`, `color_jitter`, `random_erasing`, `mixup`, `cutmix`.
        classes: for the labels, which become probabilities.
        plan: the plan that the batches were made by.
        start_step: step of the first batch.
        mean: [3] or [H, W, 3]: what the model subtracts, and erased pixels get.

    Returns:
        Elements (images [b, H, W, 3] float32, labels [b, classes] float32).
    """
    randaugment = RandAugment() if recipe.randaugment else None
    jitter = ColorJitter(recipe.color_jitter) if recipe.color_jitter else None
    fill = tf.constant(np.asarray(mean, np.float32))

    def apply(step: tf.Tensor, batch: Batch) -> Batch:
        images, targets = tf.cast(batch[0], tf.float32), tf.one_hot(batch[1], classes)
        shape = images.shape
        draws = Draws(plan, step)
        if randaugment is not None:
            images = randaugment(images, draws)
        if jitter is not None:
            images = jitter(images, draws)
        if recipe.random_erasing:
            images = random_erasing(images, draws, recipe.random_erasing, fill)
        if recipe.mixup or recipe.cutmix:
            images, targets = _mix((images, targets), recipe, draws)
        return tf.ensure_shape(images, shape), tf.ensure_shape(targets, [shape[0], classes])

    steps = batches.enumerate(start_step)
    return steps.map(apply, num_parallel_calls=_STEPS_IN_FLIGHT, deterministic=True).prefetch(2)


def _mix(batch: Batch, recipe: Recipe, draws: Draws) -> Batch:
    partners = tf.argsort(draws.uniform(1)[:, 0])
    blended, pasted = draws.beta(recipe.mixup or 1.0), draws.beta(recipe.cutmix or 1.0)
    centers = draws.uniform(2)
    if not recipe.cutmix:
        return mixup(batch, partners, blended)
    if not recipe.mixup:
        return cutmix(batch, partners, pasted, centers)
    return tf.cond(
        draws.coin(),
        lambda: mixup(batch, partners, blended),
        lambda: cutmix(batch, partners, pasted, centers),
    )


def mixup(batch: Batch, partners: tf.Tensor, share: tf.Tensor) -> Batch:
    """Blend every image and its label with its partner's (Zhang et al., arXiv:1710.09412).

    Args:
        batch: images [b, H, W, 3], labels [b, classes] as probabilities.
        partners: [b] int, a permutation.
        share: [b] in [0, 1], of the image itself.
    """
    images, targets = (_blend(part, tf.gather(part, partners), share) for part in batch)
    return images, targets


def cutmix(batch: Batch, partners: tf.Tensor, share: tf.Tensor, centers: tf.Tensor) -> Batch:
    """Paste a rectangle of the partner into every image (Yun et al., arXiv:1905.04899).

    What lies outside of the image is cut off, and labels are weighed by the pixels that are really
    pasted (keras-cv 0.9's layer weighs them by the whole rectangle, which can be off by half).

    Args:
        batch: images [b, H, W, 3], labels [b, classes] as probabilities.
        partners: [b] int, a permutation.
        share: [b] in [0, 1], of the image itself, where the rectangle fits.
        centers: [b, 2] in [0, 1), row and column of the rectangle's centre.
    """
    images, targets = batch
    side = tf.cast(tf.shape(images)[1:3], tf.float32)
    sizes = tf.floor(tf.sqrt(1.0 - share)[:, None] * side)
    pasted = rectangles(images, tf.floor(centers * side) - tf.floor(sizes / 2.0), sizes)
    kept = 1.0 - tf.reduce_mean(tf.cast(pasted, tf.float32), [1, 2, 3])
    images = tf.where(pasted, tf.gather(images, partners), images)
    return images, _blend(targets, tf.gather(targets, partners), kept)


def _blend(first: tf.Tensor, second: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
    share = tf.reshape(share, [-1] + [1] * (first.shape.rank - 1))
    return share * first + (1.0 - share) * second
