from __future__ import annotations

import corpus
import numpy as np
import pytest

from keras_resnet.data import statistics
from keras_resnet.data.digits import digits_arrays
from keras_resnet.data.sources import open_dataset
from keras_resnet.data.statistics import IMAGENET, compute_statistics
from keras_resnet.errors import UserError


def test_statistics_are_numpys():
    pixels = digits_arrays("train")[0].astype(np.float64)
    found = compute_statistics(open_dataset("digits"), "train")
    np.testing.assert_allclose(found.mean, pixels.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(found.std, pixels.std((0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(found.pixel_mean, pixels.mean(0), atol=1e-2)


def test_large_images_have_no_mean_image_and_chunks_are_bounded(tmp_path, monkeypatch):
    files = {f"{i}.png": corpus.encoded(corpus.photo(i, (700, 600)), "PNG") for i in range(2)}
    corpus.write(tmp_path / "train" / "a", files)
    found = compute_statistics(open_dataset(str(tmp_path)), "train")
    mean = np.mean([np.asarray(corpus.photo(i, (700, 600)), np.float64).mean((0, 1)) for i in range(2)], 0)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-3)  # of 420,000 pixels in float32
    assert found.pixel_mean is None
    digits = compute_statistics(open_dataset("digits"), "train", limit=40)
    monkeypatch.setattr(statistics, "_CHUNK_NUMBERS", 3100)  # one image at a time
    one_by_one = compute_statistics(open_dataset("digits"), "train", limit=40)
    np.testing.assert_allclose(one_by_one.pixel_mean, digits.pixel_mean, rtol=1e-6)


def test_images_of_differing_sizes_count_alike(tmp_path):
    images = [corpus.photo(i, (20 + 9 * i, 30)) for i in range(3)]
    for name in ("a", "b"):
        files = {f"{i}.png": corpus.encoded(image, "PNG") for i, image in enumerate(images)}
        corpus.write(tmp_path / "train" / name, files | {"broken.png": b"no image"})
    found = compute_statistics(open_dataset(str(tmp_path)), "train")
    arrays = [np.asarray(image, np.float64).reshape(-1, 3) for image in images]
    mean = np.mean([a.mean(0) for a in arrays], 0)
    products = np.mean([a.T @ a / len(a) for a in arrays], 0)
    covariance = products - np.outer(mean, mean)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-5)
    np.testing.assert_allclose(found.std, np.sqrt(np.diag(covariance)), rtol=1e-3)
    assert found.pixel_mean is None
    vectors, values = found.eigenvectors, found.eigenvalues
    np.testing.assert_allclose(vectors * values @ vectors.T, covariance / 255, atol=0.05)
    assert np.all(np.diff(values) <= 0)


def test_the_variance_of_one_colour_is_never_negative(monkeypatch):
    """Of an odd number of pixels its two terms can round to differ by less than nothing."""
    moments = np.array([200.0, 100, 50, *np.outer((200, 100, 50), (200, 100, 50)).ravel() - 1e-3])
    monkeypatch.setattr("keras_resnet.data.statistics._moments", lambda *_: (moments, None))
    assert compute_statistics(open_dataset("digits")).std == (0.0, 0.0, 0.0)


def test_a_sample_reaches_every_class():
    whole = compute_statistics(open_dataset("digits"), "train")
    sample = compute_statistics(open_dataset("digits"), "train", limit=300)
    np.testing.assert_allclose(sample.mean, whole.mean, rtol=0.05)


def test_nothing_readable(tmp_path):
    corpus.write(tmp_path / "train" / "a", {"1.png": b"no image"})
    with pytest.raises(UserError, match=r"no image of .* \(train\) is readable"):
        compute_statistics(open_dataset(str(tmp_path)), "train")


def test_imagenets_components_are_orthogonal():
    vectors = IMAGENET.eigenvectors
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(3), atol=2e-3)
    np.testing.assert_allclose(IMAGENET.eigenvalues, [55.46, 4.794, 1.148], rtol=1e-3)
