from __future__ import annotations

import re
from pathlib import Path

import corpus
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from keras_resnet.data import imagenet
from keras_resnet.data.statistics import IMAGENET
from keras_resnet.data.views import EvalView, eval_single

SIDES = st.integers(1, 5000)
UNIT = st.floats(0, 1, exclude_max=True, width=32)
DRAWS = st.lists(UNIT, min_size=imagenet.DRAWS, max_size=imagenet.DRAWS)


def graph(function):
    """Trace once, so that hypothesis can call often."""
    scalar, draws = tf.TensorSpec([], tf.int32), tf.TensorSpec([imagenet.DRAWS], tf.float32)
    return tf.function(function, input_signature=[scalar, scalar, draws])


JITTER = graph(lambda h, w, draws: imagenet.scale_jitter_window(h, w, draws, 224, (256, 480)))
RANDOM = graph(imagenet.random_resized_crop_window)


def reference_jitter(height, width, draws, size, low, high):
    """The paper's words: resize the shorter side, then crop; mapped back to the original."""
    scale = low + int(np.float32(draws[3]) * np.float32(high - low + 1))
    shorter = min(height, width)
    resized = [side * scale // shorter for side in (height, width)]
    tops = [int(np.float32(d) * np.float32(r - size + 1)) for d, r in zip(draws, resized, strict=False)]
    factors = [side / r for side, r in zip((height, width), resized, strict=True)]
    return [t * f for t, f in zip(tops, factors, strict=True)] + [size * f for f in factors]


@settings(max_examples=200, deadline=None)
@given(SIDES, SIDES, DRAWS)
def test_scale_jitter_is_the_papers_resize_then_crop(height, width, draws):
    top, left, tall, wide = JITTER(height, width, draws).numpy()
    assert top >= 0 and top + tall <= height and tall >= 1
    assert left >= 0 and left + wide <= width and wide >= 1
    expected = reference_jitter(height, width, draws, 224, 256, 480)
    slack = 1 + max(height, width) * 1e-5
    np.testing.assert_allclose([top, left, tall, wide], expected, atol=slack)


def test_scale_jitter_reaches_both_ends_of_the_scale_range():
    draws = np.zeros(imagenet.DRAWS, np.float32)
    assert JITTER(480, 480, draws).numpy().tolist() == [0, 0, 420, 420]  # 480 -> 256
    draws[:] = 0.999999
    assert JITTER(480, 480, draws).numpy().tolist() == [256, 256, 224, 224]  # 480 -> 480, last place


@settings(max_examples=200, deadline=None)
@given(SIDES, SIDES, DRAWS)
def test_random_resized_crop_stays_inside_and_within_the_ratios(height, width, draws):
    top, left, tall, wide = RANDOM(height, width, draws).numpy()
    assert top >= 0 and top + tall <= height and tall >= 1
    assert left >= 0 and left + wide <= width and wide >= 1
    # Rounding to whole pixels moves each side by at most half a pixel.
    assert (wide - 1) / (tall + 1) <= 4 / 3 and (wide + 1) / max(tall - 1, 0.5) >= 3 / 4


def reference_random_resized(random, height, width):
    """torchvision's `RandomResizedCrop.get_params`, step by step."""
    for _ in range(10):
        area = height * width * random.uniform(0.08, 1)
        ratio = np.exp(random.uniform(np.log(3 / 4), np.log(4 / 3)))
        wide, tall = round(np.sqrt(area * ratio)), round(np.sqrt(area / ratio))
        if 0 < wide <= width and 0 < tall <= height:
            return random.randint(0, height - tall + 1), random.randint(0, width - wide + 1), tall, wide
    raise AssertionError("improbable for this size")


def test_random_resized_crop_has_torchvisions_distribution():
    draws = tf.random.stateless_uniform([1000, imagenet.DRAWS], [1, 2])
    ours = tf.map_fn(lambda d: RANDOM(400, 500, d), draws, fn_output_signature=tf.int32).numpy()
    random = np.random.RandomState(0)
    theirs = np.array([reference_random_resized(random, 400, 500) for _ in range(3000)])
    for column in range(4):
        quantiles = [np.quantile(w[:, column], np.linspace(0.05, 0.95, 10)) for w in (ours, theirs)]
        np.testing.assert_allclose(*quantiles, atol=25)  # about four standard errors


def test_random_resized_crop_falls_back_to_the_largest_central_window():
    draws = np.zeros(imagenet.DRAWS, np.float32)
    draws[4 : 4 + imagenet.TRIES] = 0.999  # nearly the whole area of a strip never fits
    assert RANDOM(100, 1000, draws).numpy().tolist() == [0, (1000 - 133) // 2, 100, 133]
    assert RANDOM(1000, 100, draws).numpy().tolist() == [(1000 - 133) // 2, 0, 133, 100]


@settings(max_examples=100, deadline=None)
@given(SIDES, SIDES, st.integers(1, 700))
def test_resized_shape_is_torchvisions(height, width, size):
    shorter, longer = min(height, width), max(height, width)
    expected = (size, int(size * longer / shorter))
    got = imagenet.resized_shape(tf.constant(height), tf.constant(width), size).numpy()
    assert tuple(got) == (expected if height <= width else expected[::-1])


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (300, 300), (120, 90), (1, 40), (64, 256)])
@pytest.mark.parametrize("shorter", [32, 64, 256])
def test_resize_agrees_with_pillow_to_one_level(size, shorter):
    image = corpus.photo(7, size)
    image = Image.fromarray(
        np.clip(
            np.asarray(image) + np.random.RandomState(1).normal(0, 40, (size[1], size[0], 3)), 0, 255
        ).astype(np.uint8)
    )
    ours = imagenet.resize_shorter_side(tf.constant(np.asarray(image)), shorter).numpy()
    theirs = np.asarray(image.resize(ours.shape[1::-1], Image.Resampling.BILINEAR))
    difference = np.abs(ours.astype(int) - theirs)
    assert difference.max() <= 1
    assert difference.mean() < 0.25  # Pillow rounds twice, after each axis


def test_resize_refuses_to_enlarge_a_strip_beyond_bounds():
    with pytest.raises(tf.errors.InvalidArgumentError):
        imagenet.resize_shorter_side(tf.zeros([1, 4000, 3], tf.uint8), 640)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(8, 120), st.data())
def test_any_window_of_a_resize_is_that_part_of_it(height, width, size, data):
    image = tf.constant(np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8))
    shape = imagenet.resized_shape(tf.constant(height), tf.constant(width), size).numpy()
    top, left = (data.draw(st.integers(0, int(side) - 8)) for side in shape)
    whole = imagenet.resize_window(image, tf.constant(shape), tf.zeros([2], tf.int32), tuple(shape)).numpy()
    part = imagenet.resize_window(image, tf.constant(shape), tf.constant([top, left]), (8, 8)).numpy()
    difference = np.abs(part.astype(int) - whole[top : top + 8, left : left + 8])
    assert difference.max() <= 1 and (difference > 0).mean() < 0.1  # halves, rounded by other float32 offsets


def peak_memory() -> int:
    """The most that this process has had in memory since it last wrote to clear_refs, in KiB."""
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])


@pytest.mark.parametrize("shape", [(1, 1_000_000), (1_000_000, 1)])
def test_a_strip_costs_no_more_than_another_image(shape):
    strip = tf.zeros([*shape, 3], tf.uint8)
    try:
        # Else the peak of an earlier test would hide this one's.
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pytest.skip("needs Linux' /proc/self/clear_refs")
    before = peak_memory()
    view = EvalView("single", 224, 256)
    np.testing.assert_array_equal(eval_single(strip, view), np.zeros((224, 224, 3)))
    assert peak_memory() - before < 200_000  # KiB; 2.7 GB once


def test_a_window_of_a_resize_is_that_part_of_it():
    image = tf.constant(np.asarray(corpus.photo(2, (90, 70))))
    whole = imagenet.resize_window(image, tf.constant([50, 64]), tf.zeros([2], tf.int32), (50, 64))
    part = imagenet.resize_window(image, tf.constant([50, 64]), tf.constant([7, 9]), (30, 31))
    np.testing.assert_allclose(part.numpy().astype(int), whole.numpy()[7:37, 9:40], atol=1)


@settings(max_examples=50, deadline=None)
@given(st.integers(8, 40), st.integers(8, 40), st.integers(1, 8))
def test_center_crop_places_as_torchvision_does(height, width, size):
    image = np.arange(height * width).reshape(height, width, 1)
    top, left = round((height - size) / 2.0), round((width - size) / 2.0)
    got = imagenet.center_crop(tf.constant(image), size).numpy()
    np.testing.assert_array_equal(got, image[top : top + size, left : left + size])


@settings(max_examples=30, deadline=None)
@given(st.integers(8, 30), st.integers(8, 30), st.integers(1, 8))
def test_ten_crops_are_torchvisions_ten(height, width, size):
    image = np.arange(height * width).reshape(height, width, 1)

    def five(image):
        top, left = round((height - size) / 2.0), round((width - size) / 2.0)
        corners = [(0, 0), (0, width - size), (height - size, 0), (height - size, width - size)]
        return [image[t : t + size, s : s + size] for t, s in [*corners, (top, left)]]

    got = imagenet.ten_crops(tf.constant(image), size).numpy()
    np.testing.assert_array_equal(got, np.stack(five(image) + five(image[:, ::-1])))


def test_pca_color_adds_one_colour_along_the_components():
    images = np.random.RandomState(0).uniform(0, 255, (2, 4, 5, 3)).astype(np.float32)
    normals = np.array([[0.1, 0, 0], [0, -0.2, 0.05]], np.float32)
    got = imagenet.pca_color(images, normals, IMAGENET.eigenvalues, IMAGENET.eigenvectors).numpy()
    vectors, values = IMAGENET.eigenvectors, IMAGENET.eigenvalues
    shift = np.stack([vectors @ (values * n) for n in normals])
    np.testing.assert_allclose(got - images, np.broadcast_to(shift[:, None, None], got.shape), atol=1e-3)
