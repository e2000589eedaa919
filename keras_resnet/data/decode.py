"""JPEG bytes to RGB pixels, and those of other formats (`other_formats`), in graph operations only.

Everything in both files can run inside `tf.data` and inside an exported SavedModel. Whatever cannot
be decoded raises `tf.errors.InvalidArgumentError`; a header's dimensions are checked before any pixel
is allocated, so that a small file cannot claim gigabytes.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from keras_resnet.data.other_formats import checked_shape, decode_other, starts_with

MAX_PIXELS = 64 * 2**20  # 64 Mpx = 192 MiB of RGB; larger images are refused by their header

# Bit-equal to Pillow's. TensorFlow's default, the fast one, differs by up to 5 levels and is, with
# today's SIMD code, no faster (1073 against 1057 µs of CPU time for an ImageNet training window).
_DCT = "INTEGER_ACCURATE"
_RATIOS = (1, 2, 4, 8)  # the sizes libjpeg can decode at

_JPEG = b"\xff\xd8\xff"


def decode_image(contents: tf.Tensor, *, max_pixels: int = MAX_PIXELS) -> tf.Tensor:
    """Decode the bytes of a JPEG, PNG, BMP or GIF file (its first frame) to RGB.

    JPEG is decoded with the accurate DCT: the pixels are those of Pillow, bit for bit. CMYK,
    greyscale and palettes become RGB, alpha is dropped, 16-bit channels keep their upper 8 bits.
    EXIF orientation is ignored, as ImageNet's published results do.

    Args:
        contents: scalar string, the file's bytes (the format is detected from them, not from a name).
        max_pixels: an image with more pixels is refused before it is decoded.

    Returns:
        [H, W, 3] uint8, RGB 0…255.

    Raises:
        tf.errors.InvalidArgumentError: no such image, truncated, or too large.
    """

    def jpeg() -> tf.Tensor:
        with tf.control_dependencies([_jpeg_shape(contents, max_pixels)]):
            return tf.io.decode_jpeg(tf.identity(contents), channels=3, dct_method=_DCT)

    image = tf.cond(is_jpeg(contents), jpeg, lambda: decode_other(contents, max_pixels))
    image.set_shape([None, None, 3])
    return image


def decode_window(
    contents: tf.Tensor,
    choose: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    at_least: int = 2**30,
) -> tf.Tensor:
    """Decode one window of an image; of a JPEG, nothing but the blocks that it touches.

    A JPEG window at least twice as large as needed is decoded at half its size, at four times at a
    quarter, …: the decoder then leaves out the frequencies that the resize would drop anyway. What
    comes out is close to a box average (on photographs 0.6 of 255 levels from it on average), and
    the window's edges are rounded to the smaller image's pixels.

    Args:
        contents: scalar string, the file's bytes.
        choose: (height, width) of the image -> its window, [4] int32: (top, left, height, width) in
            pixels, inside the image.
        at_least: neither side of the result is shorter, unless the window itself is.

    Returns:
        [height / r, width / r, 3] uint8, r one of 1, 2, 4, 8.

    Raises:
        tf.errors.InvalidArgumentError: no such image, truncated, or too large.
    """

    def jpeg() -> tf.Tensor:
        height, width = tf.unstack(_jpeg_shape(contents, MAX_PIXELS))
        window = choose(height, width)

        def decoder(ratio: int) -> Callable[[], tf.Tensor]:
            return lambda: tf.io.decode_and_crop_jpeg(
                contents, window // ratio, channels=3, ratio=ratio, dct_method=_DCT
            )

        factor = tf.reduce_min(window[2:]) // at_least
        power = tf.reduce_sum(tf.cast(factor >= tf.constant(_RATIOS[1:]), tf.int32))
        return tf.switch_case(power, [decoder(ratio) for ratio in _RATIOS])

    def other() -> tf.Tensor:
        image = decode_other(contents, MAX_PIXELS)
        height, width, _ = tf.unstack(tf.shape(image))
        return crop(image, choose(height, width))

    image = tf.cond(is_jpeg(contents), jpeg, other)
    image.set_shape([None, None, 3])
    return image


def crop(image: tf.Tensor, window: tf.Tensor) -> tf.Tensor:
    """Cut (top, left, height, width) out of [H, W, C]."""
    top, left, height, width = tf.unstack(window)
    return image[top : top + height, left : left + width]


def is_jpeg(contents: tf.Tensor) -> tf.Tensor:
    """Whether the bytes begin as a JPEG file does; a scalar bool."""
    return starts_with(contents, _JPEG)


def _jpeg_shape(contents: tf.Tensor, max_pixels: int) -> tf.Tensor:
    return checked_shape(tf.cast(tf.image.extract_jpeg_shape(contents)[:2], tf.int64), max_pixels)
