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
    mean: np.ndarray | tf.Tensor | None = None,
) -> tf.Tensor:
    """Crop each image out of its zero-padded self and mirror some (Sec. 4.2).

    The paper pads the image *after* the mean was subtracted, so that the border is the mean colour,
    while our models subtract the mean themselves. With `mean`, the result is
    `crop(pad(image - mean)) + mean`: after the model's own subtraction, exactly the paper's view,
    also where the mean differs from pixel to pixel.

    Args:
        images: [B, H, W, 3] uint8.
        offsets: [B, 2] int32, see `pad_crop_offsets`.
        mirror: [B] bool; the crop, not the image, is mirrored.
        mean: None, [3] or [H, W, 3], RGB 0…255.

    Returns:
        [B, H, W, 3]; uint8 without `mean`, else float32.
    """
    batch, height, width = images.shape[0], images.shape[1], images.shape[2]
    batch = tf.shape(images)[0] if batch is None else batch
    columns = tf.range(width)
    columns = tf.where(mirror[:, tf.newaxis], columns[::-1], columns)
    rows = tf.range(height) + offsets[:, :1]  # [B, H]: source row of each output row
    columns = columns + offsets[:, 1:]
    inside = ((rows >= 0) & (rows < height))[:, :, tf.newaxis] & ((columns >= 0) & (columns < width))[
        :, tf.newaxis, :
    ]
    pixel = (
        tf.clip_by_value(rows, 0, height - 1)[:, :, tf.newaxis] * width
        + tf.clip_by_value(columns, 0, width - 1)[:, tf.newaxis, :]
    )  # [B, H, W]: source pixel within its image
    source = pixel + tf.range(batch)[:, tf.newaxis, tf.newaxis] * (height * width)
    crops = tf.gather(tf.reshape(images, [-1, 3]), source)
    inside = inside[..., tf.newaxis]
    if mean is None:
        return tf.where(inside, crops, tf.zeros([], tf.uint8))
    means = tf.convert_to_tensor(mean, tf.float32)
    crops = tf.cast(crops, tf.float32)
    if means.shape.rank == 3:
        crops = crops - tf.gather(tf.reshape(means, [-1, 3]), pixel) + means
    return tf.where(inside, crops, means)
