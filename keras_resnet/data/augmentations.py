"""Augmentations of single images that are not in the paper, on whole batches, by keras-cv's layers.

The layers carry out what is drawn here. By themselves they draw from generators that remember, and a
run that resumes would see other images than one that was never interrupted; numbers handed in are a
function of the step, as all others are (`order.Draws`).
"""

from __future__ import annotations

from collections.abc import Callable
from math import log

import tensorflow as tf

from keras_resnet.data.order import Draws

OPERATIONS_PER_IMAGE = 2
MAGNITUDE, MAGNITUDE_DEVIATION = 0.3, 0.15  # of 1; 9 of 30 in RandAugment's own units
RATE = 10 / 11  # an image is left alone as often as it gets any one of the ten operations
# Random erasing: Zhong et al., arXiv:1708.04896, with timm's ranges (their own code: area up to 0.4, aspect
# uniform in 0.3 to 1 / 0.3).
ERASED_AREA = (0.02, 1 / 3)
ERASED_ASPECT = (0.3, 3.3)

# (images [n, H, W, 3], magnitudes [n] in [0, 1], signed [n] in [-1, 1)) -> images
Operation = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
_LAYER = {"dtype": "float32"}  # whatever the network's precision: bfloat16 has too few levels for pixels
_PIXELS = {"value_range": (0, 255), **_LAYER}


class RandAugment:
    """Two operations out of ten on each image (Cubuk et al., arXiv:1909.13719), keras-cv's policy.

    keras-cv's own layer goes through a batch image by image. This one sorts the images by operation
    and applies each to all of its images at once.
    """

    def __init__(self) -> None:
        self.operations = _operations()

    def __call__(self, images: tf.Tensor, draws: Draws) -> tf.Tensor:
        """Return [b, H, W, 3] float32 for images of that kind, RGB 0…255."""
        for _ in range(OPERATIONS_PER_IMAGE):
            chance, choice, signed = tf.unstack(draws.uniform(3), axis=1)
            magnitudes = tf.clip_by_value(MAGNITUDE + MAGNITUDE_DEVIATION * draws.normal(), 0.0, 1.0)
            count = len(self.operations)
            chosen = tf.where(chance < RATE, tf.cast(choice * count, tf.int32), count)  # `count`: left alone
            images = self._apply(images, chosen, magnitudes, 2.0 * signed - 1.0)
        return images

    def _apply(
        self, images: tf.Tensor, chosen: tf.Tensor, magnitudes: tf.Tensor, signed: tf.Tensor
    ) -> tf.Tensor:
        def groups(tensor: tf.Tensor) -> list[tf.Tensor]:
            return tf.dynamic_partition(tensor, chosen, len(self.operations) + 1)

        *parts, alone = groups(images)
        numbers = zip(self.operations.values(), parts, groups(magnitudes), groups(signed), strict=False)
        done = [_unless_empty(operation, *of_group) for operation, *of_group in numbers]
        return tf.dynamic_stitch(groups(tf.range(tf.shape(images)[0])), [*done, alone])


class ColorJitter:
    """Brightness, contrast, saturation and hue, in this order, each by a random amount.

    With strength s: brightness is shifted by up to s · 255 levels, contrast (about the channel's mean)
    and saturation are scaled by 1 ± s, hue is turned by up to s / 4 of the colour circle.
    """

    def __init__(self, strength: float) -> None:
        from keras_cv import layers

        self.strength = strength
        self._brightness = layers.RandomBrightness(1.0, **_PIXELS)
        self._contrast = layers.RandomContrast(factor=1.0, **_PIXELS)
        self._saturation = layers.RandomSaturation(1.0, **_LAYER)
        self._hue = layers.RandomHue(1.0, **_PIXELS)

    def __call__(self, images: tf.Tensor, draws: Draws) -> tf.Tensor:
        """Return [b, H, W, 3] float32 in 0…255 for images of that kind."""
        return self.apply(images, self.strength * (2.0 * draws.uniform(4) - 1.0))

    def apply(self, images: tf.Tensor, amounts: tf.Tensor) -> tf.Tensor:
        """The same with given amounts, [b, 4] in [-1, 1]; 0 changes nothing."""
        brightness, contrast, saturation, hue = tf.unstack(amounts, axis=1)
        images = self._brightness.augment_images(images, 255.0 * _each(brightness))
        images = self._contrast.augment_images(images, 1.0 + _each(contrast))
        # The layer takes x where the saturation is multiplied by x / (1 − x).
        images = self._saturation.augment_images(images, (1.0 + saturation) / (2.0 + saturation))
        return self._hue.augment_images(images, hue / 4.0)


def random_erasing(images: tf.Tensor, draws: Draws, share: float, fill: tf.Tensor) -> tf.Tensor:
    """Fill a random rectangle in a share of the images (Zhong et al., arXiv:1708.04896).

    Args:
        images: [b, H, W, 3] float32.
        draws: of this step.
        share: of the images that lose a rectangle, in [0, 1].
        fill: [3] or [H, W, 3]: what the model subtracts, so that it sees zeros.
    """
    chance, area, aspect, row, column = tf.unstack(draws.uniform(5), axis=1)
    side = tf.cast(tf.shape(images)[1:3], tf.float32)
    low, high = (log(bound) for bound in ERASED_ASPECT)
    area = (ERASED_AREA[0] + (ERASED_AREA[1] - ERASED_AREA[0]) * area) * side[0] * side[1]
    aspect = tf.exp(low + (high - low) * aspect)
    sizes = tf.clip_by_value(tf.round(tf.sqrt(tf.stack([area * aspect, area / aspect], 1))), 1.0, side)
    corners = tf.floor(tf.stack([row, column], axis=1) * (side - sizes + 1.0))
    erased = rectangles(images, corners, sizes) & (_each(chance) < share)
    return tf.where(erased, fill, images)


def rectangles(images: tf.Tensor, corners: tf.Tensor, sizes: tf.Tensor) -> tf.Tensor:
    """Return a mask of one rectangle in each image, [b, H, W, 1] bool.

    Args:
        images: [b, H, W, C]; only their shape counts.
        corners: [b, 2], the first row and column; may lie outside of the image.
        sizes: [b, 2], height and width in pixels; what does not fit in the image is cut off.
    """

    def span(axis: int) -> tf.Tensor:
        pixels = tf.range(tf.shape(images)[axis + 1], dtype=tf.float32) - corners[:, axis, None]
        return (pixels >= 0.0) & (pixels < sizes[:, axis, None])

    return (span(0)[:, :, None] & span(1)[:, None, :])[..., None]


def _operations() -> dict[str, Operation]:
    """RandAugment's ten, each for images of one group."""
    from keras_cv import layers

    auto_contrast, equalize = layers.AutoContrast(**_PIXELS), layers.Equalization(**_PIXELS)
    solarization = layers.Solarization(**_PIXELS)
    degeneration = layers.RandomColorDegeneration(1.0, **_LAYER)
    contrast = layers.RandomContrast(factor=1.0, **_PIXELS)
    brightness = layers.RandomBrightness(1.0, **_PIXELS)
    shearing, translation = (
        layers.RandomShear(1.0, 1.0, **_LAYER),
        layers.RandomTranslation(1.0, 1.0, **_LAYER),
    )

    def solarize(images: tf.Tensor, m: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
        numbers = {"additions": 110.0 * _each(m), "thresholds": 255.0 * (1.0 - _each(m))}
        return solarization.augment_images(images, numbers)

    def shear(images: tf.Tensor, x: tf.Tensor | None, y: tf.Tensor | None) -> tf.Tensor:
        return shearing.augment_images(images, {"shear_x": x, "shear_y": y})

    def translate(images: tf.Tensor, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        numbers = {"width_translations": x, "height_translations": y}
        return translation.augment_images(images, numbers)

    def column(amounts: tf.Tensor) -> tf.Tensor:
        return amounts[:, None]

    return {
        "auto contrast": lambda images, m, s: auto_contrast.augment_images(images),
        "equalize": lambda images, m, s: equalize.augment_images(images),
        "solarize": solarize,
        "color": lambda images, m, s: degeneration.augment_images(images, _each(m)),
        "contrast": lambda images, m, s: contrast.augment_images(images, 1.0 + MAGNITUDE * _each(s)),
        "brightness": lambda images, m, s: brightness.augment_images(images, 255.0 * MAGNITUDE * _each(s)),
        "shear x": lambda images, m, s: shear(images, column(m * tf.sign(s)), None),
        "shear y": lambda images, m, s: shear(images, None, column(m * tf.sign(s))),
        "translate x": lambda images, m, s: translate(images, column(MAGNITUDE * s), column(0.0 * s)),
        "translate y": lambda images, m, s: translate(images, column(0.0 * s), column(MAGNITUDE * s)),
    }


def _each(numbers: tf.Tensor) -> tf.Tensor:
    """One number per image, [n], as [n, 1, 1, 1]."""
    return numbers[:, None, None, None]


def _unless_empty(operation: Operation, images: tf.Tensor, *numbers: tf.Tensor) -> tf.Tensor:
    """Not every layer takes a batch of no images."""
    return tf.cond(tf.size(images) > 0, lambda: operation(images, *numbers), lambda: images)
