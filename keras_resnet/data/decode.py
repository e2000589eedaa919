"""JPEG, PNG, BMP and GIF bytes to RGB pixels, in graph operations only.

Everything here can run inside `tf.data` and inside an exported SavedModel. Whatever cannot be
decoded raises `tf.errors.InvalidArgumentError`; a header's dimensions are checked before any pixel
is allocated, so that a small file cannot claim gigabytes.
"""

from __future__ import annotations

import tensorflow as tf

MAX_PIXELS = 64 * 2**20  # 64 Mpx = 192 MiB of RGB; larger images are refused by their header

_JPEG = b"\xff\xd8\xff"
_PNG = b"\x89PNG\r\n\x1a\n"
_BMP = b"BM"
_GIF = b"GIF8"


def image_shape(contents: tf.Tensor, *, max_pixels: int = MAX_PIXELS) -> tf.Tensor:
    """Read height and width from the header of an image file, [2] int32, without decoding it.

    Args:
        contents: scalar string, the file's bytes.
        max_pixels: an image with more pixels is refused.

    Raises:
        tf.errors.InvalidArgumentError: no JPEG, PNG, BMP or GIF; a broken header; too many pixels.
    """
    shape = tf.cond(
        is_jpeg(contents),
        lambda: tf.cast(tf.image.extract_jpeg_shape(contents)[:2], tf.int64),
        lambda: _other_shape(contents),
    )
    check = tf.debugging.Assert(
        tf.reduce_all(shape > 0) & (shape[0] * shape[1] <= max_pixels),
        ["image size out of range (height, width; at most", max_pixels, "pixels):", shape],
    )
    with tf.control_dependencies([check] if check is not None else []):
        return tf.cast(shape, tf.int32)


def decode_image(contents: tf.Tensor, *, max_pixels: int = MAX_PIXELS) -> tf.Tensor:
    """Decode the bytes of a JPEG, PNG, BMP or GIF file (its first frame) to RGB.

    JPEG is decoded with the accurate DCT: the pixels are those of Pillow, bit for bit. CMYK,
    greyscale and palettes become RGB, alpha is dropped, 16-bit channels keep their upper 8 bits.
    EXIF orientation is ignored, as ImageNet's published results do.

    Args:
        contents: scalar string, the file's bytes (the format is told from them, not from a name).
        max_pixels: an image with more pixels is refused before it is decoded.

    Returns:
        [H, W, 3] uint8, RGB 0…255.

    Raises:
        tf.errors.InvalidArgumentError: no such image, truncated, or too large.
    """
    with tf.control_dependencies([image_shape(contents, max_pixels=max_pixels)]):
        contents = tf.identity(contents)
    image = tf.cond(
        is_jpeg(contents),
        lambda: tf.io.decode_jpeg(contents, channels=3, dct_method="INTEGER_ACCURATE"),
        lambda: _decode_other(contents),
    )
    image.set_shape([None, None, 3])
    return image


def decode_window(contents: tf.Tensor, window: tf.Tensor, *, accurate: bool = False) -> tf.Tensor:
    """Decode one window of an image; of a JPEG, nothing but the blocks the window touches.

    Args:
        contents: scalar string whose `image_shape` has been checked.
        window: [4] int32, (top, left, height, width) in pixels, inside the image.
        accurate: JPEG by the accurate DCT instead of the fast one, which differs by up to 5 of 255
            levels.

    Returns:
        [height, width, 3] uint8.
    """
    method = "INTEGER_ACCURATE" if accurate else "INTEGER_FAST"
    image = tf.cond(
        is_jpeg(contents),
        lambda: tf.io.decode_and_crop_jpeg(contents, window, channels=3, dct_method=method),
        lambda: crop(_decode_other(contents), window),
    )
    image.set_shape([None, None, 3])
    return image


def crop(image: tf.Tensor, window: tf.Tensor) -> tf.Tensor:
    """Cut (top, left, height, width) out of [H, W, C]."""
    top, left, height, width = tf.unstack(window)
    return image[top : top + height, left : left + width]


def is_jpeg(contents: tf.Tensor) -> tf.Tensor:
    """Whether the bytes begin as a JPEG file does; a scalar bool."""
    return _starts_with(contents, _JPEG)


def _starts_with(contents: tf.Tensor, magic: bytes) -> tf.Tensor:
    return tf.equal(tf.strings.substr(contents, 0, len(magic)), magic)


def _integer(contents: tf.Tensor, position: int, size: int, *, big_endian: bool) -> tf.Tensor:
    """Read an unsigned integer of `size` bytes at `position`; int64, -1 past the end."""
    data = tf.strings.substr(contents, tf.minimum(position, tf.strings.length(contents)), size)
    octets = tf.cast(tf.io.decode_raw(data, tf.uint8), tf.int64)
    powers = [256**p for p in range(size)]
    powers = tf.constant(powers[::-1] if big_endian else powers, tf.int64)
    whole = tf.equal(tf.size(octets), size)
    return tf.cond(whole, lambda: tf.reduce_sum(octets * powers), lambda: tf.constant(-1, tf.int64))


def _other_shape(contents: tf.Tensor) -> tf.Tensor:
    """Height and width, [2] int64, of a PNG, BMP or GIF; zeros of anything else."""

    def png() -> tf.Tensor:
        width, height = (_integer(contents, p, 4, big_endian=True) for p in (16, 20))
        return tf.stack([height, width])

    def bmp() -> tf.Tensor:
        width, height = (_integer(contents, p, 4, big_endian=False) for p in (18, 22))
        # A height with its sign bit set means rows from the top down.
        return tf.stack([tf.where(height >= 2**31, 2**32 - height, height), width])

    def gif() -> tf.Tensor:
        width, height = (_integer(contents, p, 2, big_endian=False) for p in (6, 8))
        return tf.stack([height, width])

    return _by_format(contents, png, bmp, gif, lambda: tf.zeros([2], tf.int64))


def _decode_other(contents: tf.Tensor) -> tf.Tensor:
    def unknown() -> tf.Tensor:
        check = tf.debugging.Assert(False, ["not a JPEG, PNG, BMP or GIF image"])
        with tf.control_dependencies([check] if check is not None else []):
            return tf.zeros([0, 0, 3], tf.uint8)

    return _by_format(
        contents,
        lambda: tf.io.decode_png(contents, channels=3),
        lambda: _decode_bmp(contents),
        lambda: tf.io.decode_gif(contents)[0],
        unknown,
    )


def _by_format(contents: tf.Tensor, png, bmp, gif, otherwise) -> tf.Tensor:  # type: ignore[no-untyped-def]
    return tf.cond(
        _starts_with(contents, _PNG),
        png,
        lambda: tf.cond(
            _starts_with(contents, _BMP),
            bmp,
            lambda: tf.cond(_starts_with(contents, _GIF), gif, otherwise),
        ),
    )


def _decode_bmp(contents: tf.Tensor) -> tf.Tensor:
    """Decode an uncompressed BMP of 8 (palette), 24 or 32 bits a pixel."""
    header = _integer(contents, 14, 4, big_endian=False)
    bits = _integer(contents, 28, 2, big_endian=False)
    compression = _integer(contents, 30, 4, big_endian=False)
    plain = tf.equal(compression, 0) | (tf.equal(compression, 3) & tf.equal(bits, 32))
    known = tf.equal(bits, 8) | tf.equal(bits, 24) | tf.equal(bits, 32)
    check = tf.debugging.Assert(
        (header >= 40) & plain & known, ["BMP of an unsupported kind: bits a pixel", bits]
    )
    with tf.control_dependencies([check] if check is not None else []):
        contents = tf.identity(contents)

    def palette() -> tf.Tensor:
        # TensorFlow returns a palette image's indices as if they were grey levels.
        indices = tf.cast(tf.io.decode_bmp(contents, channels=1)[..., 0], tf.int32)
        start = 14 + tf.cast(header, tf.int32)
        end = tf.cast(_integer(contents, 10, 4, big_endian=False), tf.int32)
        table = tf.reshape(
            tf.io.decode_raw(tf.strings.substr(contents, start, end - start), tf.uint8), [-1, 4]
        )
        return tf.gather(table[:, 2::-1], indices)  # stored blue, green, red, unused

    return tf.cond(tf.equal(bits, 8), palette, lambda: tf.io.decode_bmp(contents, channels=0)[..., :3])
