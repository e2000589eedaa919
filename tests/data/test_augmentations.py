"""Augmentations beyond the paper: against PIL and NumPy, and as functions of the step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from keras_resnet.data.augmentations import (
    ERASED_AREA,
    MAGNITUDE,
    ColorJitter,
    RandAugment,
    random_erasing,
    rectangles,
)
from keras_resnet.data.mixing import augment, cutmix, mixup, wants_augmentation
from keras_resnet.data.order import Draws, Plan
from keras_resnet.errors import UsageError
from keras_resnet.recipes import RECIPES

NOTHING = replace(RECIPES["modern"], randaugment=False, mixup=0.0, cutmix=0.0)
EVERYTHING = replace(RECIPES["modern"], color_jitter=0.4, random_erasing=0.5)
IMAGES = np.random.default_rng(0).integers(0, 256, (8, 24, 32, 3)).astype(np.float32)
LABELS = np.arange(8, dtype=np.int32) % 5
ZEROS = np.zeros(8, np.float32)


@pytest.fixture(scope="module")
def operations():
    return RandAugment().operations


def draws(seed: int = 0, step: int = 0, batch: int = 8) -> Draws:
    return Draws(Plan(seed, 64, batch), tf.constant(step, tf.int64))


def by_pil(function) -> np.ndarray:
    return np.stack([np.asarray(function(Image.fromarray(image.astype(np.uint8)))) for image in IMAGES])


def batches(recipe, plan=None, start_step=0, count=1, images=IMAGES):
    plan = plan or Plan(3, 64, len(images))
    source = tf.data.Dataset.from_tensors((images[plan.slice], LABELS[plan.slice])).repeat()
    augmented = augment(source, recipe, 5, plan, start_step=start_step).take(count)
    return [(i.numpy(), t.numpy()) for i, t in augmented]


@pytest.mark.parametrize(
    ("name", "reference", "tolerance"),
    [
        ("auto contrast", lambda: by_pil(ImageOps.autocontrast), 1.0),
        ("color", lambda: by_pil(lambda image: ImageEnhance.Color(image).enhance(0.6)), 1.5),
        ("brightness", lambda: np.clip(IMAGES + 255 * MAGNITUDE * 0.5, 0, 255), 1e-3),
    ],
)
def test_operations_are_those_of_pil_and_numpy(operations, name, reference, tolerance):
    found = operations[name](
        tf.constant(IMAGES), np.full(8, 0.4, np.float32), np.full(8, 0.5, np.float32)
    ).numpy()
    np.testing.assert_allclose(found, reference(), atol=tolerance)


def test_equalize_is_that_of_pil_on_photos(operations):
    # On small images keras-cv differs: it leaves the rarest level out of the count, PIL the brightest.
    photo = np.clip(np.random.default_rng(0).normal(100, 30, (1, 160, 160, 3)), 0, 255).astype(np.uint8)
    found = operations["equalize"](photo.astype(np.float32), ZEROS[:1], ZEROS[:1]).numpy()
    np.testing.assert_allclose(found[0], np.asarray(ImageOps.equalize(Image.fromarray(photo[0]))), atol=3)


def test_translation_by_whole_pixels_is_a_shift(operations):
    signed = np.full(8, 4 / 32 / MAGNITUDE, np.float32)
    found = operations["translate x"](tf.constant(IMAGES), ZEROS, signed).numpy()
    np.testing.assert_allclose(found[:, :, 4:], IMAGES[:, :, :-4], atol=1e-2)


def test_solarize_is_an_addition_and_an_inversion(operations):
    found = operations["solarize"](tf.constant(IMAGES), np.full(8, 0.5, np.float32), ZEROS).numpy()
    brighter = np.clip(IMAGES + 55.0, 0, 255)
    np.testing.assert_allclose(found, np.where(brighter < 127.5, brighter, 255 - brighter), atol=1e-3)


@pytest.mark.parametrize(
    "name", ["contrast", "brightness", "translate x", "translate y", "shear x", "shear y"]
)
def test_operations_of_strength_0_change_nothing(operations, name):
    np.testing.assert_allclose(operations[name](tf.constant(IMAGES), ZEROS, ZEROS).numpy(), IMAGES, atol=1e-2)


def test_randaugment_leaves_some_images_alone_and_keeps_each_in_its_place():
    flat = np.repeat(np.arange(8, dtype=np.float32)[:, None, None, None] * 30 + 20, 3, -1)
    flat = np.broadcast_to(flat, (8, 24, 24, 3))
    only_geometry = RandAugment()
    only_geometry.operations = {
        name: operation for name, operation in only_geometry.operations.items() if "shear" in name
    }
    found = only_geometry(tf.constant(flat), draws()).numpy()
    np.testing.assert_allclose(found[:, 12, 12], flat[:, 12, 12], atol=1e-2)
    photos = RandAugment()(tf.constant(np.tile(IMAGES, (40, 1, 1, 1))), draws(batch=320)).numpy()
    alone = np.mean(
        [np.array_equal(a, b) for a, b in zip(photos, np.tile(IMAGES, (40, 1, 1, 1)), strict=True)]
    )
    assert 0 < alone < 0.2 and photos.min() >= 0 and photos.max() <= 255


@pytest.mark.parametrize(
    ("amounts", "reference"),
    [
        ((0.0, 0.0, 0.0, 0.0), lambda: IMAGES),
        ((0.2, 0.0, 0.0, 0.0), lambda: np.clip(IMAGES + 51, 0, 255)),
        ((0.0, -1.0, 0.0, 0.0), lambda: np.broadcast_to(IMAGES.mean((1, 2), keepdims=True), IMAGES.shape)),
        ((0.0, 0.0, -1.0, 0.0), lambda: np.broadcast_to(IMAGES.max(-1, keepdims=True), IMAGES.shape)),
        ((0.0, 0.0, 0.3, 0.2), lambda: by_tensorflow(1.3, 0.05)),
    ],
)
def test_colour_jitter(amounts, reference):
    found = ColorJitter(0.4).apply(tf.constant(IMAGES), tf.constant([amounts] * 8))
    np.testing.assert_allclose(found.numpy(), reference(), atol=0.05)


def by_tensorflow(saturation: float, hue: float) -> np.ndarray:
    images = tf.image.adjust_saturation(IMAGES / 255.0, saturation)
    return 255.0 * tf.image.adjust_hue(images, hue).numpy()


@given(
    corner=st.tuples(st.integers(-9, 30), st.integers(-9, 40)),
    size=st.tuples(st.integers(0, 30), st.integers(0, 40)),
)
@settings(deadline=None, max_examples=30)
def test_a_rectangle_is_a_slice(corner, size):
    expected = np.zeros((24, 32), bool)
    (top, left), (height, width) = corner, size
    expected[max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)] = True
    mask = rectangles(
        tf.zeros([1, 24, 32, 3]), tf.constant([corner], tf.float32), tf.constant([size], tf.float32)
    )
    np.testing.assert_array_equal(mask[0, :, :, 0], expected)


@given(seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=20)
def test_erased_images_lose_one_rectangle_of_the_stated_area(seed):
    erased = random_erasing(tf.zeros([8, 48, 48, 3]), draws(seed), 1.0, tf.constant([1.0, 2.0, 3.0])).numpy()
    for image in erased:
        mask = image[..., 0] == 1.0
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert mask.sum() == (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
        assert 0.8 * ERASED_AREA[0] <= mask.mean() <= 1.1 * ERASED_AREA[1]
        np.testing.assert_array_equal(image[mask], np.broadcast_to([1.0, 2.0, 3.0], (mask.sum(), 3)))


def test_a_share_of_the_images_is_erased():
    erased = random_erasing(tf.zeros([1000, 8, 8, 3]), draws(batch=1000), 0.25, tf.ones([3])).numpy()
    assert 0.2 < erased.any((1, 2, 3)).mean() < 0.3


def test_mixup_blends_images_and_labels_alike():
    targets = np.eye(8, dtype=np.float32)
    partners, share = np.roll(np.arange(8), 3), np.linspace(0, 1, 8, dtype=np.float32)
    images, labels = mixup((tf.constant(IMAGES), tf.constant(targets)), tf.constant(partners), share)
    for k in range(8):
        blend = share[k] * IMAGES[k] + (1 - share[k]) * IMAGES[partners[k]]
        np.testing.assert_allclose(images[k], blend, atol=1e-3)
        np.testing.assert_allclose(labels[k], share[k] * targets[k] + (1 - share[k]) * targets[partners[k]])


@given(seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=20)
def test_cutmix_weighs_labels_by_the_pixels_that_are_pasted(seed):
    random = np.random.default_rng(seed)
    constant = np.broadcast_to(np.arange(8, dtype=np.float32)[:, None, None, None], (8, 24, 32, 3))
    partners, share = random.permutation(8), random.random(8, np.float32)
    batch = tf.constant(constant), tf.one_hot(np.arange(8), 8)
    images, labels = cutmix(batch, tf.constant(partners), share, random.random((8, 2), np.float32))
    images, labels = images.numpy(), labels.numpy()
    for k in range(8):
        assert set(np.unique(images[k])) <= {k, partners[k]}
        if partners[k] != k:
            pasted = np.mean(images[k] == partners[k])
            assert labels[k, partners[k]] == pytest.approx(pasted, abs=1e-5)
            assert pasted <= 1 - share[k] + 1e-5
        assert labels[k].sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.2, 0.0), (0.0, 1.0), (0.2, 1.0)])
def test_mixed_labels_are_probabilities_of_the_classes_in_the_batch(mixup, cutmix):
    bright = np.broadcast_to(50.0 * LABELS[:, None, None, None], IMAGES.shape).astype(np.float32)
    ((images, labels),) = batches(replace(NOTHING, mixup=mixup, cutmix=cutmix), images=bright)
    np.testing.assert_allclose(labels.sum(1), 1.0, atol=1e-5)
    # Each image is as bright, on average, as its labels are.
    np.testing.assert_allclose(images.mean((1, 2, 3)), labels @ (50.0 * np.arange(5)), atol=0.1)


def test_every_step_can_be_reached_directly():
    for k, (images, labels) in enumerate(batches(EVERYTHING, count=3)):
        ((again, labels_again),) = batches(EVERYTHING, start_step=k)
        np.testing.assert_array_equal(images, again)
        np.testing.assert_array_equal(labels, labels_again)
    first, second = batches(EVERYTHING, count=2)
    assert not np.array_equal(first[0], second[0])


def test_workers_get_slices_of_the_same_images():
    recipe = replace(EVERYTHING, mixup=0.0, cutmix=0.0)
    ((whole, _),) = batches(recipe)
    parts = [batches(recipe, Plan(3, 64, 8, worker, 2))[0][0] for worker in range(2)]
    np.testing.assert_array_equal(whole, np.concatenate(parts))


def test_pixels_keep_their_levels_under_mixed_precision():
    before = tf.keras.mixed_precision.global_policy()
    ((expected, _),) = batches(EVERYTHING)
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        ((found, _),) = batches(EVERYTHING)
    finally:
        tf.keras.mixed_precision.set_global_policy(before)
    np.testing.assert_array_equal(found, expected)


def test_the_papers_recipes_have_none_of_it():
    assert [name for name, recipe in RECIPES.items() if wants_augmentation(recipe)] == ["modern"]


@pytest.mark.parametrize("change", [{"color_jitter": 1.5}, {"random_erasing": -0.1}, {"mixup": -1.0}])
def test_impossible_strengths_are_refused(change):
    with pytest.raises(UsageError, match=r"between 0 and 1|or more"):
        replace(NOTHING, **change)
