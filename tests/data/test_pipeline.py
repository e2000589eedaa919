from __future__ import annotations

import corpus
import numpy as np
import pytest
import tensorflow as tf

from keras_resnet.data import pipeline
from keras_resnet.data.sources import hold_out, open_dataset
from keras_resnet.data.statistics import compute_statistics
from keras_resnet.data.views import EvalView, TrainView, eval_view, train_view
from keras_resnet.errors import UsageError, UserError

PAD_CROP = TrainView("pad-crop", 32, flip=False)


@pytest.fixture(scope="module")
def digits():
    return open_dataset("digits")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of 3 classes × 8 images of differing sizes, as JPEG and PNG."""
    root = tmp_path_factory.mktemp("photos")
    for split in ("train", "test"):
        for c in range(3):
            files = {}
            for i in range(8):
                image = corpus.photo(100 * c + i, (60 + 9 * i, 90 - 5 * i))
                kind = "PNG" if i % 4 == 3 else "JPEG"
                files[f"{i}.{kind.lower()}"] = corpus.encoded(image, kind)
            corpus.write(root / split / f"class{c}", files)
    return open_dataset(str(root))


def take(batches, count):
    return [tuple(t.numpy() for t in element) for element in batches.take(count)]


def assert_same(a, b):
    for left, right in zip(a, b, strict=True):
        for x, y in zip(left, right, strict=True):
            np.testing.assert_array_equal(x, y)


VIEWS = [
    PAD_CROP,
    TrainView("center", 32),
    train_view("scale-jitter", 40, color=True),
    train_view("random-resized-crop", 40),
]


@pytest.mark.parametrize("source", ["digits", "photos"])
@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_any_step_is_reached_directly(request, source, view):
    dataset = request.getfixturevalue(source)
    settings = {"batch_size": 8, "seed": 3}
    iterated = take(pipeline.training_batches(dataset, "train", view, **settings), 7)
    direct = pipeline.training_batches(dataset, "train", view, start_step=5, **settings)
    assert_same(iterated[5:], take(direct, 2))
    other = take(pipeline.training_batches(dataset, "train", view, batch_size=8, seed=4), 1)
    assert not np.array_equal(other[0][0], iterated[0][0])


def test_step_1000_reached_directly_equals_the_one_iterated_to(digits):
    settings = {"batch_size": 16, "seed": 1, "mean": [10.0, 20.0, 30.0]}
    every = pipeline.training_batches(digits, "train", PAD_CROP, **settings).skip(1000)
    direct = pipeline.training_batches(digits, "train", PAD_CROP, start_step=1000, **settings)
    assert_same(take(every, 1), take(direct, 1))


@pytest.mark.parametrize("source", ["digits", "photos"])
def test_workers_share_every_batch(request, source):
    dataset = request.getfixturevalue(source)
    view = train_view("scale-jitter", 32, color=True)
    settings = {"batch_size": 12, "seed": 5, "start_step": 1}
    alone = take(pipeline.training_batches(dataset, "train", view, **settings), 3)
    parts = [
        take(pipeline.training_batches(dataset, "train", view, worker=w, workers=3, **settings), 3)
        for w in range(3)
    ]
    joined = [
        tuple(np.concatenate(tensors) for tensors in zip(*p, strict=True)) for p in zip(*parts, strict=True)
    ]
    assert_same(alone, joined)


def test_an_epoch_shows_each_image_once_and_the_next_in_another_order(photos):
    view = TrainView("center", 8, flip=False)
    batches = pipeline.training_batches(photos, "train", view, batch_size=6, seed=0)
    shown = [images.reshape(6, -1) for images, _ in take(batches, 8)]
    first, second = np.concatenate(shown[:4]), np.concatenate(shown[4:])
    assert len(np.unique(first, axis=0)) == 24
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(np.unique(first, axis=0), np.unique(second, axis=0))


@pytest.mark.parametrize("workers", [2, 3])
def test_workers_of_an_epoch_see_disjoint_images_that_make_it(photos, workers):
    view = TrainView("center", 8, flip=False)
    shares = []
    for worker in range(workers):
        batches = pipeline.training_batches(
            photos, "train", view, batch_size=6, seed=0, worker=worker, workers=workers
        )
        shown = np.concatenate([images for images, _ in take(batches, 4)]).reshape(24 // workers, -1)
        shares.append({image.tobytes() for image in shown})
    assert [len(share) for share in shares] == [24 // workers] * workers
    assert len(set.union(*shares)) == 24


def test_batches_are_static_and_hold_levels(photos, digits):
    for dataset, view in ((photos, train_view("scale-jitter", 40)), (digits, PAD_CROP)):
        batches = pipeline.training_batches(dataset, "train", view, batch_size=10, seed=0, workers=2)
        images, labels = batches.element_spec
        assert images.shape == (5, view.image_size, view.image_size, 3)
        assert images.dtype == tf.uint8 and labels.shape == (5,) and labels.dtype == tf.int32


def test_the_padding_is_the_mean(digits):
    mean = compute_statistics(digits, "train").pixel_mean
    settings = {"batch_size": 64, "seed": 2}
    raw = take(pipeline.training_batches(digits, "train", PAD_CROP, **settings), 1)[0][0]
    shifted = take(pipeline.training_batches(digits, "train", PAD_CROP, mean=mean, **settings), 1)[0][0]
    assert shifted.dtype == np.float32
    normalised = shifted - mean
    # Where nothing but padding is visible, the network's input is zero, as in the paper.
    blank = np.abs(normalised) < 1e-4
    assert blank.mean() > 0.01
    assert raw.shape == shifted.shape


@pytest.mark.parametrize("workers", [1, 2])
def test_evaluation_shows_each_image_once_in_order(digits, photos, workers):
    for dataset, split, batch_size in ((digits, "val", 64), (photos, "test", 10)):
        view = eval_view("single", 32)
        seen, labels = [], []
        for worker in range(workers):
            for images, label, index in pipeline.evaluation_batches(
                dataset, split, view, batch_size=batch_size, worker=worker, workers=workers
            ):
                assert images.shape[1:] == (32, 32, 3) and images.dtype == tf.uint8
                assert np.all(np.diff(index) == 1)
                seen += index.numpy().tolist()
                labels += label.numpy().tolist()
        assert sorted(seen) == list(range(dataset.splits[split]))
        if workers == 1:
            assert seen == sorted(seen)
        if dataset is photos:
            assert [labels[seen.index(i)] for i in (0, 8, 16, 23)] == [0, 1, 2, 2]


def test_evaluation_in_memory_equals_evaluation_from_files(photos, monkeypatch):
    view = EvalView("single", 32, 36)
    fast = take(pipeline.evaluation_batches(photos, "test", view, batch_size=7), 9)
    monkeypatch.setattr("keras_resnet.data.memory.LIMIT_BYTES", 0)
    photos.memory.clear()
    slow = take(pipeline.evaluation_batches(photos, "test", view, batch_size=7), 9)
    assert [len(batch[1]) for batch in slow] == [7, 7, 7, 3]
    assert_same(fast, slow)


def test_ten_crops_and_whole_images(photos):
    view = EvalView("10-crop", 32, 40)
    (images, labels, index), *_ = take(pipeline.evaluation_batches(photos, "test", view, batch_size=5), 1)
    assert images.shape == (5, 10, 32, 32, 3) and index.tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(labels, 0)
    whole = list(pipeline.evaluation_images(photos, "test"))
    assert [int(i) for _, _, i in whole] == list(range(24))
    assert whole[1][0].shape == (85, 69, 3)
    with pytest.raises(UsageError, match="evaluation_images"):
        pipeline.evaluation_batches(photos, "test", EvalView("multi-scale", 32, 32), batch_size=1)


def test_held_out_images_are_those_left_out(digits, photos):
    parted = hold_out(photos, images=6, seed=1)
    assert parted.splits == {"train": 18, "val": 6, "test": 24}
    view = eval_view("single", 32)
    parts = {
        split: np.concatenate([b[0] for b in pipeline.evaluation_batches(parted, split, view, batch_size=50)])
        for split in ("train", "val")
    }
    whole = np.concatenate([b[0] for b in pipeline.evaluation_batches(photos, "train", view, batch_size=50)])
    together = np.concatenate(list(parts.values())).reshape(24, -1)
    np.testing.assert_array_equal(np.unique(together, axis=0), np.unique(whole.reshape(24, -1), axis=0))
    (labels,) = [b[1] for b in pipeline.evaluation_batches(parted, "val", view, batch_size=50)]
    assert np.bincount(labels).tolist() == [2, 2, 2]
    with pytest.raises(UsageError):
        hold_out(digits)


def test_batches_that_cannot_be_made_are_refused(digits):
    with pytest.raises(UserError, match="1197"):
        pipeline.training_batches(digits, "train", PAD_CROP, batch_size=1198, seed=0)
    with pytest.raises(UsageError, match="workers"):
        pipeline.training_batches(digits, "train", PAD_CROP, batch_size=10, seed=0, workers=3)
    with pytest.raises(UsageError, match="train, val, test"):
        pipeline.training_batches(digits, "dev", PAD_CROP, batch_size=10, seed=0)
