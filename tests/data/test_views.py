from __future__ import annotations

import io
import tarfile

import corpus
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_resnet.data import imagenet, views
from keras_resnet.errors import UsageError


def pillow_single(image, size, resize):
    """torchvision's Resize and CenterCrop on a Pillow image."""
    width, height = image.size
    shorter, longer = min(image.size), max(image.size)
    scaled = (resize, resize * longer // shorter)
    image = image.resize(scaled if width <= height else scaled[::-1], Image.Resampling.BILINEAR)
    left, top = round((image.width - size) / 2.0), round((image.height - size) / 2.0)
    return np.asarray(image.crop((left, top, left + size, top + size)))


@pytest.mark.parametrize("size", [(90, 60), (60, 90), (64, 64), (1, 4000), (4000, 1), (1, 1), (37, 300)])
def test_the_single_crop_is_pillows_to_one_level(size):
    image = corpus.photo(5, size)
    view = views.EvalView("single", 56, 64)
    got = views.eval_single(tf.constant(np.asarray(image)), view)
    assert got.shape == (56, 56, 3) and got.dtype == tf.uint8
    difference = np.abs(got.numpy().astype(int) - pillow_single(image, 56, 64))
    assert difference.max() <= 1


def test_an_image_of_the_right_size_is_not_touched():
    image = np.random.RandomState(0).randint(0, 256, (32, 32, 3)).astype(np.uint8)
    np.testing.assert_array_equal(views.eval_single(tf.constant(image), views.eval_view("single", 32)), image)


def test_photographs_agree_with_pillow_end_to_end(shared):
    archive = shared / "imagenet-photos.tar"
    if not archive.is_file():
        pytest.skip("needs imagenet-photos.tar beside the repository")
    view = views.eval_view("single", 224)
    with tarfile.open(archive) as tar:
        members = [member for member in tar if member.isfile()][::25]
        for member in members:
            contents = tar.extractfile(member).read()
            got = views.image_to_view(tf.constant(contents), view).numpy()
            theirs = pillow_single(Image.open(io.BytesIO(contents)).convert("RGB"), 224, 256)
            assert np.abs(got.astype(int) - theirs).max() <= 1, member.name


def test_ten_crops_begin_with_the_corners_of_the_resized_image():
    contents = corpus.encoded(corpus.photo(1, (90, 60)), "PNG")
    view = views.EvalView("10-crop", 32, 40)
    crops = views.image_to_view(tf.constant(contents), view)
    assert crops.shape == (10, 32, 32, 3)
    resized = imagenet.resize_shorter_side(tf.io.decode_png(contents), 40)
    np.testing.assert_array_equal(crops[0], resized[:32, :32])
    np.testing.assert_array_equal(crops[5], resized[:32, ::-1][:, :32])


@pytest.mark.parametrize("name", ["scale-jitter", "random-resized-crop"])
@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("mirror", [False, True])
def test_a_training_square_is_its_window_resized(name, antialias, mirror):
    image = corpus.photo(4, (80, 70))
    view = views.TrainView(name, 24, scale_range=(28, 40), antialias=antialias)
    draws = np.random.RandomState(3).uniform(0, 0.4, imagenet.DRAWS).astype(np.float32)
    draws[2] = 0.4 if mirror else 0.6
    top, left, height, width = views.train_window(tf.constant(70), tf.constant(80), view, draws).numpy()
    square = Image.fromarray(np.asarray(image)[top : top + height, left : left + width])
    expected = np.asarray(square.resize((24, 24), Image.Resampling.BILINEAR)).astype(int)
    got = views.train_square(tf.constant(np.asarray(image)), view, draws).numpy()
    got = got[:, ::-1] if mirror else got
    assert np.abs(got - expected).max() <= (1 if antialias else 12)  # two taps against the whole triangle
    from_file = views.train_square_of_file(tf.constant(corpus.encoded(image, "PNG")), view, draws).numpy()
    np.testing.assert_array_equal(from_file[:, ::-1] if mirror else from_file, got)


def test_digits_are_never_mirrored():
    image = tf.constant(np.asarray(corpus.photo(4, (40, 40))))
    draws = np.full(imagenet.DRAWS, 0.3, np.float32)
    upright, mirrored = (
        views.train_square(image, views.TrainView("scale-jitter", 24, flip=flip, scale_range=(24, 32)), draws)
        for flip in (False, True)
    )
    np.testing.assert_array_equal(upright, mirrored[:, ::-1])


def test_views_scale_with_the_image_size():
    assert views.train_view("scale-jitter", 224).scale_range == (256, 480)
    assert views.train_view("scale-jitter", 112).scale_range == (128, 240)
    assert views.train_view("pad-crop", 32).padding == 4
    assert views.train_view("pad-crop", 64).padding == 8
    assert views.eval_view("single", 224).resize == 256
    assert views.eval_view("single", 32).resize == 32
    assert views.eval_view("multi-scale", 224).sizes == (224, 256, 384, 480, 640)


def test_impossible_views_are_refused():
    with pytest.raises(UsageError, match="no view 'scale_jitter': choose one of scale-jitter, random-"):
        views.train_view("scale_jitter", 224)
    with pytest.raises(UsageError, match="no view '10crop': choose one of single, 10-crop, multi-scale"):
        views.eval_view("10crop", 224)
    with pytest.raises(UsageError, match="does not fit"):
        views.EvalView("single", 224, 200)
    with pytest.raises(UsageError, match="scale-jitter"):
        views.TrainView("scale-jitter", 224, scale_range=(200, 300))
    with pytest.raises(UsageError):
        views.TrainView("pad-crop", 32, padding=-1)
