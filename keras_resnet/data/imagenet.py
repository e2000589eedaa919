"""The geometry and colours of the ImageNet views (Sec. 3.4), one small function each.

Random functions take their randomness as numbers in [0, 1), drawn by the pipeline: what they do is
a plain function of their arguments, and a NumPy reference can follow every step.
"""

from __future__ import annotations

import tensorflow as tf

from keras_resnet.data.graph import require

MAX_RESIZED = 16 * 2**20  # pixels of a whole image after resizing, 192 MiB of float32

# Numbers in [0, 1) that one training view consumes, and the tries of `random_resized_crop_window`.
TRIES = 10
AREA = (0.08, 1.0)  # of a random resized crop, shares of the image's area
ASPECT = (3 / 4, 4 / 3)  # of it, width / height
DRAWS = 4 + 2 * TRIES  # vertical place, horizontal place, mirror, scale; area and aspect a try


def resized_shape(height: tf.Tensor, width: tf.Tensor, size: tf.Tensor | int) -> tf.Tensor:
    """Return [2] int32: (height, width) after the shorter side became `size`.

    The longer side is rounded down, as in torchvision and fb.resnet.torch.
    """
    shorter = tf.cast(tf.minimum(height, width), tf.int64)
    longer = tf.cast(tf.maximum(height, width), tf.int64) * tf.cast(size, tf.int64) // shorter
    size, longer = tf.cast(size, tf.int32), tf.cast(tf.minimum(longer, 2**31 - 1), tf.int32)
    return tf.where(height <= width, tf.stack([size, longer]), tf.stack([longer, size]))


def resize_window(
    image: tf.Tensor, shape: tf.Tensor, offset: tf.Tensor, size: tuple[int, int] | tf.Tensor
) -> tf.Tensor:
    """Resize to `shape`, accurately, and cut out a window; only what the window shows is computed.

    Bilinear with antialiasing: at most one level from Pillow's. The kernel resizes rows before columns, over
    the whole width that it is given; of a strip that would be gigabytes.

    Args:
        image: [H, W, 3] uint8 or float32.
        shape: [2] int32, (height, width) of the whole resized image.
        offset: [2] int32, (top, left) of the window in the resized image.
        size: (height, width) of the window.

    Returns:
        [height, width, 3] uint8.
    """
    old = tf.shape(image)[:2]
    scale = tf.cast(shape, tf.float64) / tf.cast(old, tf.float64)
    first = tf.cast(offset, tf.float64)
    last = first + tf.cast(size, tf.float64)
    reach = tf.maximum(1.0 / scale, 1.0) + 1.0  # of the triangle on either side, and one to be sure
    begin = tf.maximum(tf.cast(tf.floor(first / scale - reach), tf.int32), 0)
    end = tf.minimum(tf.cast(tf.math.ceil(last / scale + reach), tf.int32), old)
    resized = tf.raw_ops.ScaleAndTranslate(
        images=image[tf.newaxis, begin[0] : end[0], begin[1] : end[1]],
        size=size,
        scale=tf.cast(scale, tf.float32),
        translation=tf.cast(tf.cast(begin, tf.float64) * scale - first, tf.float32),
        kernel_type="triangle",
        antialias=True,
    )[0]
    return to_uint8(resized)


def to_uint8(pixels: tf.Tensor) -> tf.Tensor:
    """Round float pixels to the nearest level (halves up, as Pillow does) and clip to 0…255."""
    return tf.cast(tf.clip_by_value(tf.floor(pixels + 0.5), 0, 255), tf.uint8)


def resize_shorter_side(image: tf.Tensor, size: int | tf.Tensor) -> tf.Tensor:
    """Resize [H, W, 3] so that its shorter side is `size`, accurately (Sec. 3.4, testing).

    Raises:
        tf.errors.InvalidArgumentError: the result, or the rows on the way to it, would exceed
            `MAX_RESIZED` (a 1 × 4000 strip enlarged to 640 × 2,560,000).
    """
    height, width = tf.unstack(tf.shape(image)[:2])
    shape = resized_shape(height, width, size)
    pixels = tf.cast(shape[0], tf.int64) * tf.cast(tf.maximum(shape[1], width), tf.int64)
    shape = require(pixels <= MAX_RESIZED, shape, "resized image too large:", shape)
    return resize_window(image, shape, tf.zeros([2], tf.int32), shape)


def center_crop(image: tf.Tensor, size: int) -> tf.Tensor:
    """Cut the central `size` × `size` out of [H, W, C]; odd margins round as torchvision's do."""
    top, left = tf.unstack(center_offset(tf.shape(image)[:2], size))
    return image[top : top + size, left : left + size]


def center_offset(shape: tf.Tensor, size: int) -> tf.Tensor:
    """Return (top, left), [2] int32, of the central `size` × `size` window; .5 rounds to even."""
    return tf.cast(tf.round(tf.cast(shape - size, tf.float32) / 2), tf.int32)


def ten_crops(image: tf.Tensor, size: int) -> tf.Tensor:
    """Four corners and centre, then the same five of the mirror image (Sec. 3.4, 10-crop testing).

    Args:
        image: [H, W, C], no side shorter than `size`.
        size: side of each crop.

    Returns:
        [10, size, size, C] in the order of torchvision's `TenCrop`: top left, top right, bottom
        left, bottom right, centre.
    """

    def five(image: tf.Tensor) -> list[tf.Tensor]:
        return [
            image[:size, :size],
            image[:size, -size:],
            image[-size:, :size],
            image[-size:, -size:],
            center_crop(image, size),
        ]

    return tf.stack(five(image) + five(image[:, ::-1]))


def scale_jitter_window(
    height: tf.Tensor,
    width: tf.Tensor,
    draws: tf.Tensor,
    image_size: int,
    scale_range: tuple[int, int],
) -> tf.Tensor:
    """The paper's training crop: shorter side to a random size, then a random square (Sec. 3.4).

    Returns the window of the *original* image that becomes that square, so that nothing else has to
    be decoded or resized; it is rounded to whole original pixels.

    Args:
        height: scalar int32; width likewise.
        draws: [DRAWS] float32 in [0, 1); the scale and the place are read from it.
        image_size: side of the square after resizing (224).
        scale_range: smallest and largest shorter side, inclusive ([256, 480]).

    Returns:
        [4] int32: (top, left, height, width).
    """
    low, high = scale_range
    size = low + tf.cast(tf.floor(draws[3] * (high - low + 1)), tf.int32)
    original = tf.stack([height, width])
    shape = resized_shape(height, width, size)
    offset = _place(shape - image_size, draws)
    scale = tf.cast(original, tf.float32) / tf.cast(shape, tf.float32)
    return _whole_pixels(
        tf.cast(offset, tf.float32) * scale, tf.cast(image_size, tf.float32) * scale, original
    )


def random_resized_crop_window(height: tf.Tensor, width: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    """Inception's training crop, as in fb.resnet.torch and torchvision's `RandomResizedCrop`.

    A window with a random share of the image's area and a random aspect ratio (uniform in its
    logarithm); of ten tries the first that fits, else the largest central window within the ratios.

    Args:
        height: scalar int32; width likewise.
        draws: [DRAWS] float32 in [0, 1).

    Returns:
        [4] int32: (top, left, height, width).
    """
    tall, wide = tf.cast(height, tf.float32), tf.cast(width, tf.float32)
    low, high = tf.math.log(ASPECT[0]), tf.math.log(ASPECT[1])
    areas = tall * wide * (AREA[0] + draws[4 : 4 + TRIES] * (AREA[1] - AREA[0]))
    ratios = tf.exp(low + draws[4 + TRIES :] * (high - low))
    tries = tf.cast(tf.round(tf.stack([tf.sqrt(areas / ratios), tf.sqrt(areas * ratios)], axis=-1)), tf.int32)
    original = tf.stack([height, width])
    fits = tf.reduce_all((tries >= 1) & (tries <= original), axis=-1)
    ratio = tf.clip_by_value(wide / tall, *ASPECT)
    fallback = tf.stack([tf.minimum(tall, wide / ratio), tf.minimum(wide, tall * ratio)])
    fallback = tf.clip_by_value(tf.cast(tf.round(fallback), tf.int32), 1, original)
    first = tf.argmax(tf.cast(fits, tf.int32))
    size = tf.where(tf.reduce_any(fits), tries[first], fallback)
    offset = tf.where(tf.reduce_any(fits), _place(original - size, draws), (original - fallback) // 2)
    return tf.concat([offset, size], axis=0)


def _place(room: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    """A uniformly drawn offset in 0…room, inclusive; [2] int32."""
    return tf.cast(tf.floor(draws[:2] * tf.cast(room + 1, tf.float32)), tf.int32)


def _whole_pixels(offset: tf.Tensor, size: tf.Tensor, original: tf.Tensor) -> tf.Tensor:
    rounded = tf.clip_by_value(tf.cast(tf.round(size), tf.int32), 1, original)
    start = tf.clip_by_value(tf.cast(tf.round(offset), tf.int32), 0, original - rounded)
    return tf.concat([start, rounded], axis=0)


def pca_color(
    images: tf.Tensor, normals: tf.Tensor, eigenvalues: tf.Tensor, eigenvectors: tf.Tensor
) -> tf.Tensor:
    """AlexNet's colour augmentation, the paper's "standard color augmentation" (Sec. 3.4).

    Adds to every pixel of an image the same colour: the principal components of the training set's
    RGB values, each times its eigenvalue and a random factor.

    Args:
        images: [..., H, W, 3], RGB 0…255.
        normals: [..., 3] float32, drawn from a normal distribution with deviation 0.1.
        eigenvalues: [3], as AlexNet uses them (see `statistics.Statistics`).
        eigenvectors: [3, 3], one column per component, rows RGB.

    Returns:
        [..., H, W, 3] float32, not clipped.
    """
    shift = tf.linalg.matvec(tf.cast(eigenvectors, tf.float32), normals * tf.cast(eigenvalues, tf.float32))
    return tf.cast(images, tf.float32) + shift[..., tf.newaxis, tf.newaxis, :]
