"""Augmentations that are not in the paper, on whole batches, by keras-cv: RandAugment, MixUp, CutMix.

They cost much more than the paper's views (docs/data.md), so only recipes that ask for them have them.
keras-cv draws its random numbers from its own generators: a run resumed in the middle goes on with other
ones, and is not bit-identical to one that was never interrupted.
"""

from __future__ import annotations

import tensorflow as tf

from keras_resnet.recipes import Recipe

RANDAUGMENT_OPERATIONS = 2
RANDAUGMENT_MAGNITUDE = 0.3  # of 1; 9 of 30 in RandAugment's own units


def wants_mixing(recipe: Recipe) -> bool:
    """Whether a recipe uses any of it."""
    return bool(recipe.mixup or recipe.cutmix or recipe.randaugment)


def mix(batches: tf.data.Dataset, recipe: Recipe, classes: int, seed: int) -> tf.data.Dataset:
    """Apply the recipe's RandAugment, then MixUp or CutMix (either, where it has both).

    Args:
        batches: elements (images [b, H, W, 3] RGB 0…255, labels [b] int32).
        recipe: `randaugment`, and the strengths `mixup` and `cutmix` (0: without).
        classes: for the labels, which become probabilities.
        seed: of keras-cv's generators.

    Returns:
        Elements (images float32, labels [b, classes] float32).
    """
    import keras_cv

    seed += 1  # keras-cv takes 0 for no seed
    randaugment = (
        keras_cv.layers.RandAugment(
            (0, 255),
            augmentations_per_image=RANDAUGMENT_OPERATIONS,
            magnitude=RANDAUGMENT_MAGNITUDE,
            seed=seed,
        )
        if recipe.randaugment
        else None
    )
    mixup = keras_cv.layers.MixUp(recipe.mixup, seed=seed) if recipe.mixup else None
    cutmix = keras_cv.layers.CutMix(recipe.cutmix, seed=seed) if recipe.cutmix else None

    def mixed_up(images: tf.Tensor, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        assert mixup is not None
        element = mixup({"images": images, "labels": targets}, training=True)
        return element["images"], element["labels"]

    def cut_and_mixed(images: tf.Tensor, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # keras-cv 0.9 weighs labels by the box before it is clipped to the image, which can be off by
        # half. A plane with each image's number goes along and tells what share it really kept.
        assert cutmix is not None
        own = tf.range(tf.shape(images)[0], dtype=tf.float32)[:, None, None, None]
        plane = tf.zeros_like(images[..., :1]) + own
        element = {"images": tf.concat([images, plane], -1), "labels": targets}
        images = cutmix(element, training=True)["images"]
        images, plane = images[..., :-1], images[..., -1:]
        foreign = tf.not_equal(plane, own)
        share = 1.0 - tf.reduce_mean(tf.cast(foreign, tf.float32), [1, 2, 3])[:, None]
        partner = tf.reduce_max(tf.where(foreign, plane, -1.0), [1, 2, 3])
        partner = tf.where(partner < 0, own[:, 0, 0, 0], partner)
        others = tf.gather(targets, tf.cast(partner, tf.int32))
        return images, share * targets + (1.0 - share) * others

    def apply(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        shape = images.shape
        images, targets = tf.cast(images, tf.float32), tf.one_hot(labels, classes)
        if randaugment is not None:
            images = tf.cast(randaugment(images, training=True), tf.float32)
        if mixup is not None and cutmix is not None:
            images, targets = tf.cond(
                tf.random.uniform([], seed=seed) < 0.5,
                lambda: mixed_up(images, targets),
                lambda: cut_and_mixed(images, targets),
            )
        elif mixup is not None:
            images, targets = mixed_up(images, targets)
        elif cutmix is not None:
            images, targets = cut_and_mixed(images, targets)
        return tf.ensure_shape(images, shape), tf.ensure_shape(targets, [shape[0], classes])

    return batches.map(apply, num_parallel_calls=2).prefetch(2)
