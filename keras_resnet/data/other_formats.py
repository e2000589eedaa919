"""PNG, BMP and GIF bytes to RGB pixels; JPEG, and the choice between them, are in `decode`."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from keras_resnet.data.graph import require

# The contents of an image whose label is of no use: no format begins so, and the reason is reported.
NO_LABEL = "no label, or one beyond the classes"

_PNG = b"\x89PNG\r\n\x1a\n"
_BMP = b"BM"
_GIF = b"GIF8"


def _apart(function: Callable[[tf.Tensor, int], tf.Tensor]) -> Callable[[tf.Tensor, int], tf.Tensor]:
    """Keep the rare formats out of JPEG's way: one node of the graph instead of hundreds.

    TensorFlow visits every node of a branch, also of one not taken; that was 4 % of a training view.
    """
    return tf.function(function, autograph=False, experimental_attributes={"_noinline": True})


@_apart
def decode_other(contents: tf.Tensor, max_pixels: int) -> tf.Tensor:
    """Decode a PNG, BMP or GIF (its first frame), [H, W, 3] uint8; of anything else an error."""
    with tf.control_dependencies([_other_shape(contents, max_pixels)]):
        contents = tf.identity(contents)
    return _by_format(
        contents,
        lambda: tf.io.decode_png(contents, channels=3),
        lambda: _decode_bmp(contents),
        lambda: tf.io.decode_gif(_first_gif_frame(contents))[0],
        lambda: tf.zeros([0, 0, 3], tf.uint8),  # refused with its shape
    )


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
        return require(False, tf.zeros([2], tf.int64), reason)

    return checked_shape(_by_format(contents, png, bmp, gif, unknown), max_pixels)


def checked_shape(shape: tf.Tensor, max_pixels: int) -> tf.Tensor:
    """Return [2] int64 as int32; computing it raises unless there are pixels, and not too many."""
    # Each side by itself too: the product of two sides beyond 2³¹ may overflow to a small one.
    sound = tf.reduce_all((shape > 0) & (shape <= max_pixels)) & (shape[0] * shape[1] <= max_pixels)
    message = f"not between 1 and {max_pixels:,} pixels: height and width"
    return tf.cast(require(sound, shape, message, shape), tf.int32)


def _by_format(
    contents: tf.Tensor,
    png: Callable[[], tf.Tensor],
    bmp: Callable[[], tf.Tensor],
    gif: Callable[[], tf.Tensor],
    otherwise: Callable[[], tf.Tensor],
) -> tf.Tensor:
    return tf.cond(
        starts_with(contents, _PNG),
        png,
        lambda: tf.cond(
            starts_with(contents, _BMP),
            bmp,
            lambda: tf.cond(starts_with(contents, _GIF), gif, otherwise),
        ),
    )


def _decode_bmp(contents: tf.Tensor) -> tf.Tensor:
    """Decode an uncompressed BMP of 8 (palette), 24 or 32 bits per pixel."""
    header = _integer(contents, 14, 4, big_endian=False)
    bits = _integer(contents, 28, 2, big_endian=False)
    compression = _integer(contents, 30, 4, big_endian=False)
    plain = tf.equal(compression, 0) | (tf.equal(compression, 3) & tf.equal(bits, 32))
    known = tf.equal(bits, 8) | tf.equal(bits, 24) | tf.equal(bits, 32)
    contents = require((header >= 40) & plain & known, contents, "BMP of an unsupported kind")

    def palette() -> tf.Tensor:
        # TensorFlow returns a palette image's indices as if they were grey levels.
        indices = tf.cast(tf.io.decode_bmp(contents)[..., 0], tf.int32)
        start, end = 14 + header, _integer(contents, 10, 4, big_endian=False)
        inside = (start <= end) & (end <= tf.cast(tf.strings.length(contents), tf.int64))
        # TensorFlow's own message about a place outside has the whole file in it.
        start = require(inside, start, "BMP with a palette outside of the file")
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
    frame = require(proper, frame, "GIF without a proper first frame")
    end, left = skip_blocks(frame + 11 + table_size(octets[frame + 9]), left)
    end = require(left > 0, end, "GIF of too many tiny blocks")
    return tf.strings.substr(contents, 0, end) + b";"


def starts_with(contents: tf.Tensor, magic: bytes) -> tf.Tensor:
    """Whether a file's bytes begin with `magic`; a scalar bool."""
    return tf.equal(tf.strings.substr(contents, 0, len(magic)), magic)


def _integer(contents: tf.Tensor, position: int, size: int, *, big_endian: bool) -> tf.Tensor:
    """Read an unsigned integer of `size` bytes at `position`; int64, -1 past the end."""
    data = tf.strings.substr(contents, tf.minimum(position, tf.strings.length(contents)), size)
    octets = tf.cast(tf.io.decode_raw(data, tf.uint8), tf.int64)
    powers = [256**p for p in range(size)]
    powers = tf.constant(powers[::-1] if big_endian else powers, tf.int64)
    whole = tf.equal(tf.size(octets), size)
    return tf.cond(whole, lambda: tf.reduce_sum(octets * powers), lambda: tf.constant(-1, tf.int64))
