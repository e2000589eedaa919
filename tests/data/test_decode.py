from __future__ import annotations

import io

import corpus
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_resnet.data import decode

READABLE = corpus.readable(1)
UNREADABLE = corpus.unreadable(1)


@pytest.fixture(scope="module")
def decode_in_graph():
    return tf.function(decode.decode_image, input_signature=[tf.TensorSpec([], tf.string)])


def pillow_rgb(contents: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(contents))
    if image.mode == "I;16":  # Pillow's own conversion clips to white
        grey = (np.asarray(image) >> 8).astype(np.uint8)
        return np.repeat(grey[..., np.newaxis], 3, axis=-1)
    return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("name", READABLE)
def test_every_kind_decodes_to_pillows_pixels(decode_in_graph, name):
    contents = READABLE[name]
    np.testing.assert_array_equal(decode_in_graph(contents).numpy(), pillow_rgb(contents))


@pytest.mark.parametrize("name", UNREADABLE)
def test_broken_files_raise_invalid_argument(decode_in_graph, name):
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_in_graph(UNREADABLE[name])


def test_a_bomb_is_refused_by_its_header(decode_in_graph):
    contents = corpus.bomb()
    assert len(contents) < 2**20
    with pytest.raises(tf.errors.InvalidArgumentError, match="20000"):
        decode_in_graph(contents)


@pytest.mark.parametrize("side", [2**31, 3 * 2**30, 2**32 - 1])
def test_sides_whose_product_overflows_are_refused_by_the_header(decode_in_graph, side):
    with pytest.raises(tf.errors.InvalidArgumentError, match="not between 1 and 67,108,864 pixels"):
        decode_in_graph(corpus.png_header(side, side))


@pytest.mark.parametrize("name", READABLE)
def test_the_limit_is_the_callers(name):
    contents = READABLE[name]
    height, width = pillow_rgb(contents).shape[:2]
    decode.decode_image(contents, max_pixels=width * height)
    if width * height > 1:
        with pytest.raises(tf.errors.InvalidArgumentError, match=rf"height and width\D+{height}\D+{width}"):
            decode.decode_image(contents, max_pixels=width * height - 1)


@pytest.mark.parametrize("name", ["baseline.jpg", "progressive.jpg", "cmyk.jpg", "rgb.png", "still.gif"])
def test_a_window_is_that_part_of_the_image(name):
    window = decode.decode_window(READABLE[name], lambda h, w: tf.constant([5, 7, 20, 31])).numpy()
    whole = pillow_rgb(READABLE[name])[5:25, 7:38]
    # A JPEG decoder that begins in the middle cannot smooth the colours across the window's edge.
    np.testing.assert_allclose(window[2:-2, 2:-2].astype(int), whole[2:-2, 2:-2], atol=1)


def test_a_large_window_is_decoded_small():
    image = corpus.photo(3, (400, 320))
    contents = corpus.encoded(image, "JPEG", quality=95)
    window = tf.constant([40, 80, 200, 240])
    for at_least, ratio in ((201, 1), (101, 1), (100, 2), (50, 4), (25, 8), (3, 8)):
        small = decode.decode_window(contents, lambda h, w: window, at_least).numpy()
        assert small.shape == (200 // ratio, 240 // ratio, 3)
        box = np.asarray(image.crop((80, 40, 320, 240)).reduce(ratio)).astype(float)
        assert np.abs(small - box).mean() < 2


def test_decodes_inside_a_saved_model(tmp_path):
    class Decoder(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
        def __call__(self, contents):
            return decode.decode_image(contents)

    tf.saved_model.save(Decoder(), str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    for name in ("grey.jpg", "animated.GIF", "palette.bmp"):
        np.testing.assert_array_equal(loaded(READABLE[name]), pillow_rgb(READABLE[name]))
