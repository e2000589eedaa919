from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_resnet.data import cifar


def reference(images, offsets, mirror, padding, mean):
    """One image after the other, as Sec. 4.2 says it."""
    batch, height, width, _ = images.shape
    mean = np.broadcast_to(np.float32(0 if mean is None else mean), images.shape[1:])
    crops = []
    for i in range(batch):
        padded = np.zeros((height + 2 * padding, width + 2 * padding, 3), np.float32)
        padded[padding : padding + height, padding : padding + width] = images[i] - mean
        top, left = offsets[i] + padding
        crop = padded[top : top + height, left : left + width]
        crops.append((crop[:, ::-1] if mirror[i] else crop) + mean)
    return np.stack(crops)


@pytest.mark.parametrize("kind", ["none", "channel", "pixel"])
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31 - 1), st.integers(0, 4), st.tuples(st.integers(4, 9), st.integers(4, 9)))
def test_pad_crop_is_pad_then_crop_then_mirror(kind, seed, padding, size):
    random = np.random.RandomState(seed)
    images = random.randint(0, 256, (3, *size, 3)).astype(np.uint8)
    offsets = random.randint(-padding, padding + 1, (3, 2)).astype(np.int32)
    mirror = random.rand(3) < 0.5
    shape = {"none": None, "channel": (3,), "pixel": (*size, 3)}[kind]
    mean = None if shape is None else random.uniform(0, 255, shape).astype(np.float32)
    got = cifar.pad_crop(tf.constant(images), offsets, mirror, padding, mean)
    assert got.dtype == (tf.uint8 if mean is None else tf.float32)
    np.testing.assert_allclose(got, reference(images, offsets, mirror, padding, mean), atol=1e-4)


def test_offsets_cover_all_places_evenly_and_half_are_mirrored():
    draws = tf.random.stateless_uniform([8100, 3], [1, 2])
    offsets, mirror = cifar.pad_crop_offsets(draws, 4, flip=True)
    counts = np.bincount((offsets.numpy() + 4) @ [9, 1], minlength=81)
    assert counts.shape == (81,) and counts.min() > 60
    assert 0.47 < mirror.numpy().mean() < 0.53


def test_digits_are_never_mirrored():
    assert not cifar.pad_crop_offsets(tf.zeros([4, 3]), 4, flip=False)[1].numpy().any()
