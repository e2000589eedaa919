"""JPEG, PNG, BMP and GIF bytes to RGB pixels, in graph operations only.

Everything here can run inside `tf.data` and inside an exported SavedModel. Whatever cannot be
decoded raises `tf.errors.InvalidArgumentError`; a header's dimensions are checked before any pixel
is allocated, so that a small file cannot claim gigabytes.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

MAX_PIXELS = 64 * 2**20  # 64 Mpx = 192 MiB of RGB; larger images are refused by their header

# Bit-equal to Pillow's. TensorFlow's default, the fast one, differs by up to 5 levels and is, with
# today's SIMD code, no faster (1073 against 1057 µs of CPU time for an ImageNet training window).
_DCT = "INTEGER_ACCURATE"
_RATIOS = (1, 2, 4, 8)  # the sizes libjpeg can decode at

# The contents of an image whose label is of no use: no format begins so, and the reason is told.
NO_LABEL = "no label, or one beyond the classes"

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
    return tf.cond(
        is_jpeg(contents),
        lambda: _jpeg_shape(contents, max_pixels),
        lambda: _other_shape(contents, max_pixels),
    )


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

    def jpeg() -> tf.Tensor:
        with tf.control_dependencies([_jpeg_shape(contents, max_pixels)]):
            return tf.io.decode_jpeg(tf.identity(contents), channels=3, dct_method=_DCT)

    image = tf.cond(is_jpeg(contents), jpeg, lambda: _decode_other(contents, max_pixels))
    image.set_shape([None, None, 3])
    return image


def decode_window(
    contents: tf.Tensor,
    choose: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    at_least: int = 2**30,
    *,
    max_pixels: int = MAX_PIXELS,
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
        max_pixels: an image with more pixels is refused before it is decoded.

    Returns:
        [height / r, width / r, 3] uint8, r one of 1, 2, 4, 8.

    Raises:
        tf.errors.InvalidArgumentError: no such image, truncated, or too large.
    """

    def jpeg() -> tf.Tensor:
        height, width = tf.unstack(_jpeg_shape(contents, max_pixels))
        window = choose(height, width)

        def decoder(ratio: int) -> Callable[[], tf.Tensor]:
            return lambda: tf.io.decode_and_crop_jpeg(
                contents, window // ratio, channels=3, ratio=ratio, dct_method=_DCT
            )

        factor = tf.reduce_min(window[2:]) // at_least
        power = tf.reduce_sum(tf.cast(factor >= tf.constant(_RATIOS[1:]), tf.int32))
        return tf.switch_case(power, [decoder(ratio) for ratio in _RATIOS])

    def other() -> tf.Tensor:
        image = _decode_other(contents, max_pixels)
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
    return _starts_with(contents, _JPEG)


def _require(
    condition: tf.Tensor | bool, value: tf.Tensor, message: tf.Tensor | str, *data: tf.Tensor
) -> tf.Tensor:
    """Return `value`; computing it raises InvalidArgumentError unless `condition` holds."""
    check = tf.debugging.Assert(condition, [message, *data])
    with tf.control_dependencies([] if check is None else [check]):  # None: checked eagerly
        return tf.identity(value)


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


def _jpeg_shape(contents: tf.Tensor, max_pixels: int) -> tf.Tensor:
    return _checked(tf.cast(tf.image.extract_jpeg_shape(contents)[:2], tf.int64), max_pixels)


def _checked(shape: tf.Tensor, max_pixels: int) -> tf.Tensor:
    """Return [2] int64 as int32; computing it raises unless there are pixels, and not too many."""
    sound = tf.reduce_all(shape > 0) & (shape[0] * shape[1] <= max_pixels)
    message = f"not between 1 and {max_pixels:,} pixels: height and width"
    return tf.cast(_require(sound, shape, message, shape), tf.int32)


def _apart(function: Callable[[tf.Tensor, int], tf.Tensor]) -> Callable[[tf.Tensor, int], tf.Tensor]:
    """Keep the rare formats out of JPEG's way: one node of the graph instead of hundreds.

    TensorFlow visits every node of a branch, also of one not taken; that was 4 % of a training view.
    """
    return tf.function(function, autograph=False, experimental_attributes={"_noinline": True})


@_apart
def _other_shape(contents: tf.Tensor, max_pixels: int) -> tf.Tensor:
    """Height and width, [2] int32, of a PNG, BMP or GIF; of anything else an error."""

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

    def unknown() -> tf.Tensor:
        reason = tf.where(tf.equal(contents, NO_LABEL), NO_LABEL, "not a JPEG, PNG, BMP or GIF image")
        return _require(False, tf.zeros([2], tf.int64), reason)

    return _checked(_by_format(contents, png, bmp, gif, unknown), max_pixels)


@_apart
def _decode_other(contents: tf.Tensor, max_pixels: int) -> tf.Tensor:
    with tf.control_dependencies([_other_shape(contents, max_pixels)]):
        contents = tf.identity(contents)
    return _by_format(
        contents,
        lambda: tf.io.decode_png(contents, channels=3),
        lambda: _decode_bmp(contents),
        lambda: tf.io.decode_gif(_first_gif_frame(contents))[0],
        lambda: tf.zeros([0, 0, 3], tf.uint8),  # refused with its shape
    )


def _by_format(
    contents: tf.Tensor,
    png: Callable[[], tf.Tensor],
    bmp: Callable[[], tf.Tensor],
    gif: Callable[[], tf.Tensor],
    otherwise: Callable[[], tf.Tensor],
) -> tf.Tensor:
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
    contents = _require((header >= 40) & plain & known, contents, "BMP of an unsupported kind")

    def palette() -> tf.Tensor:
        # TensorFlow returns a palette image's indices as if they were grey levels.
        indices = tf.cast(tf.io.decode_bmp(contents)[..., 0], tf.int32)
        start = 14 + tf.cast(header, tf.int32)
        end = tf.cast(_integer(contents, 10, 4, big_endian=False), tf.int32)
        colors = tf.strings.substr(contents, start, (end - start) // 4 * 4)
        table = tf.reshape(tf.io.decode_raw(colors, tf.uint8), [-1, 4])
        return tf.gather(table[:, 2::-1], indices)  # stored blue, green, red, unused

    return tf.cond(tf.equal(bits, 8), palette, lambda: tf.io.decode_bmp(contents)[..., :3])


def _first_gif_frame(contents: tf.Tensor) -> tf.Tensor:
    """Cut a GIF off after its first frame.

    TensorFlow would decode every frame of an animation, allocate each at the size it claims, and
    fill the rest of a truncated frame with black.

    Raises:
        tf.errors.InvalidArgumentError: the file ends within the frame, the frame is larger than the
            image, whose size has been checked, or the data blocks are tiny: each is a step of a loop.
    """
    octets = tf.cast(tf.io.decode_raw(contents, tf.uint8), tf.int32)  # reading past the end raises
    blocks = 1000 + tf.size(octets) // 64  # that may be read; encoders write blocks of 255 bytes

    def skip_blocks(position: tf.Tensor, left: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """From the length of the first of some data blocks to behind their empty last one."""
        end, left = tf.while_loop(
            lambda p, left: (octets[p] > 0) & (left > 0),
            lambda p, left: (p + octets[p] + 1, left - 1),
            (position, left),
        )
        return end + 1, left

    def table_size(flags: tf.Tensor) -> tf.Tensor:
        return tf.where(flags >= 128, 3 * tf.bitwise.left_shift(2, flags % 8), 0)

    def little_endian(position: tf.Tensor | int) -> tf.Tensor:
        return octets[position] + 256 * octets[position + 1]

    frame, left = tf.while_loop(
        lambda p, left: tf.equal(octets[p], ord("!")) & (left > 0),  # an extension: comment, timing, …
        lambda p, left: skip_blocks(p + 2, left - 1),
        (13 + table_size(octets[10]), blocks),
    )
    fits = (little_endian(frame + 1) + little_endian(frame + 5) <= little_endian(6)) & (
        little_endian(frame + 3) + little_endian(frame + 7) <= little_endian(8)
    )
    proper = tf.equal(octets[frame], ord(",")) & fits
    frame = _require(proper, frame, "GIF without a proper first frame")
    end, left = skip_blocks(frame + 11 + table_size(octets[frame + 9]), left)
    end = _require(left > 0, end, "GIF of too many tiny blocks")
    return tf.strings.substr(contents, 0, end) + b";"
