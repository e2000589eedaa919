"""The CIFAR training view (Sec. 4.2) on whole batches: zero padding, random crop, mirror."""

from __future__ import annotations

import numpy as np
import tensorflow as tf


def pad_crop_offsets(draws: tf.Tensor, padding: int, flip: bool) -> tuple[tf.Tensor, tf.Tensor]:
    """Turn random numbers into crops of the padded image.

    Args:
        draws: [B, 3 or more] float32 in [0, 1): vertical and horizontal place, mirror.
        padding: pixels on each side.
        flip: whether images are mirrored at all.

    Returns:
        offsets [B, 2] int32 in -padding…padding, the crop's (top, left) relative to the unpadded
        image; mirror [B] bool.
    """
    offsets = tf.cast(tf.floor(draws[:, :2] * (2 * padding + 1)), tf.int32) - padding
    mirror = (draws[:, 2] < 0.5) & flip
    return offsets, mirror


def pad_crop(
    images: tf.Tensor,
    offsets: tf.Tensor,
    mirror: tf.Tensor,
    padding: int,
    mean: np.ndarray | tf.Tensor | None = None,
) -> tf.Tensor:
    """Crop each image out of its zero-padded self and mirror some (Sec. 4.2).

    The paper pads the image *after* the mean was subtracted, so that the border is the mean colour,
    while our models subtract the mean themselves. With `mean`, the result is
    `crop(pad(image - mean)) + mean`: after the model's own subtraction the paper's view, also where
    the mean differs from pixel to pixel.

    Args:
        images: [B, H, W, 3] uint8.
        offsets: [B, 2] int32, see `pad_crop_offsets`.
        mirror: [B] bool; the crop, not the image, is mirrored.
        padding: pixels on each side, the largest magnitude in `offsets`.
        mean: None, [3] or [H, W, 3], RGB 0…255.

    Returns:
        [B, H, W, 3]; uint8 without `mean`, else float32.
    """
    if mean is not None:
        images = tf.cast(images, tf.float32) - mean
    margin = [padding, padding]
    padded = tf.pad(images, [[0, 0], margin, margin, [0, 0]])
    height, width = images.shape[1], images.shape[2]
    columns = tf.where(mirror[:, tf.newaxis], tf.range(width)[::-1], tf.range(width))
    columns += offsets[:, 1:] + padding  # [B, W]: padded column of each column of the crop
    rows = tf.range(height) + offsets[:, :1] + padding  # [B, H]
    # One gather of whole pixels from the flat batch: of six formulations (slices, two gathers along
    # axes, an affine transform, …) the one with the least work per image.
    rows += tf.range(tf.shape(images)[0])[:, tf.newaxis] * (height + 2 * padding)
    pixels = rows[:, :, tf.newaxis] * (width + 2 * padding) + columns[:, tf.newaxis, :]
    crops = tf.gather(tf.reshape(padded, [-1, 3]), pixels)
    return crops if mean is None else crops + mean
