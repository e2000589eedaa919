from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from keras_resnet.architectures import Stage, get_architecture
from keras_resnet.backbone import features
from keras_resnet.builders import build_model
from keras_resnet.data.imagenet import resize_shorter_side
from keras_resnet.errors import UsageError, UserError
from keras_resnet.evaluation import Classifier, evaluate, multi_scale, open_classifier
from keras_resnet.evaluation.classifier import keras_classifier
from keras_resnet.saving import LoadedModel, ModelInfo

SIZES = (32, 47)


def softmax(logits):
    exponentials = np.exp(logits - logits.max())
    return exponentials / exponentials.sum()


def location_by_location(saved, image):
    """Slow: the classifier at every position of C5, logits averaged over positions; then over the rest."""
    c5 = features(saved.model)
    kernel, bias = (weight.numpy() for weight in saved.model.get_layer("predictions").weights)
    kernel, bias = kernel.astype(np.float64), bias.astype(np.float64)
    answers = []
    for size in SIZES:
        resized = resize_shorter_side(image, size).numpy()
        for picture in (resized, resized[:, ::-1]):
            maps = c5(picture[None].astype(np.float32), training=False)["C5"].numpy()[0]
            logits = [maps[y, x] @ kernel + bias for y in range(maps.shape[0]) for x in range(maps.shape[1])]
            answers.append(softmax(np.mean(logits, axis=0)))
    return np.mean(answers, axis=0)


@pytest.fixture(scope="module")
def reference(resnet18, photos):
    images = [tf.io.decode_png(tf.io.read_file(path), channels=3) for path in photos.listings["test"].paths]
    return np.stack([location_by_location(resnet18, image) for image in images])


@pytest.mark.parametrize("batch_size", [1, 64])
def test_scores_are_those_of_a_slow_reference(resnet18, photos, reference, batch_size):
    found = evaluate(resnet18, photos, views="multi-scale", sizes=SIZES, batch_size=batch_size)
    np.testing.assert_array_equal(found.scores.index, np.arange(15))
    np.testing.assert_allclose(found.scores.probabilities, reference, atol=2e-5)
    assert found.views == "multi-scale"


def test_a_function_without_layers_is_tested_at_several_scales_too(resnet18, photos, reference):
    exported = replace(open_classifier(resnet18), model=None)  # as exported SavedModels are
    found = evaluate(exported, photos, views="multi-scale", sizes=SIZES)
    np.testing.assert_allclose(found.scores.probabilities, reference, atol=2e-5)


def test_a_network_for_one_size_and_a_mean_image_is_freed_of_both(resnet18, photos, reference):
    mean = np.broadcast_to(np.float32([120, 115, 100]), (32, 32, 3))
    std = np.broadcast_to(np.float32([60, 60, 65]), (32, 32, 3))
    fixed = build_model(resnet18.info.architecture, input_shape=(32, 32, 3), classes=3, mean=mean, std=std)
    for layer in fixed.layers:
        if layer.name != "normalization":
            layer.set_weights(resnet18.model.get_layer(layer.name).get_weights())
    saved = LoadedModel(fixed, resnet18.info)
    found = evaluate(saved, photos, views="multi-scale", sizes=SIZES)
    np.testing.assert_allclose(found.scores.probabilities, reference, atol=2e-5)


def test_vgg_becomes_fully_convolutional():
    narrow = tuple(Stage(f"block{number}", 1, 4, 1) for number in range(1, 6))
    architecture = replace(get_architecture("vgg16"), stages=narrow)
    model = build_model(architecture, input_shape=(64, 64, 3), classes=3, mean=[120.0] * 3, std=[60.0] * 3)
    info = ModelInfo(architecture, ("a", "b", "c"), 64, 73)
    dense = multi_scale.dense_probabilities(keras_classifier(LoadedModel(model, info), "vgg"))
    image = np.random.default_rng(0).integers(0, 256, (1, 96, 128, 3)).astype(np.float32)
    np.testing.assert_allclose(dense(image[:, :64, :64]), model(image[:, :64, :64]), atol=1e-5)

    # The first fully connected layer slides over the 3 × 4 map of the last pooling as a 2 × 2 window.
    body = multi_scale._for_any_size(model, "block5_pool")
    maps = body(image).numpy()
    assert maps.shape == (1, 3, 4, 4)
    head = [model.get_layer(name) for name in ("fc1", "fc2", "predictions")]
    logits = []
    for y in range(2):
        for x in range(3):
            values = maps[:, y : y + 2, x : x + 2].reshape(1, -1)
            for layer in head[:2]:
                values = layer(values)
            logits.append((values @ head[2].kernel + head[2].bias).numpy()[0])
    np.testing.assert_allclose(dense(image)[0], softmax(np.mean(logits, axis=0)), atol=1e-5)


def batches_of(shapes, pixels):
    images = [((np.zeros((*shape, 3), np.uint8),), 0, number) for number, shape in enumerate(shapes)]
    batches = list(multi_scale.equal_shapes(images, np.zeros(0, np.int64), pixels))
    assert sorted(number for batch in batches for _, _, number in batch) == list(range(len(shapes)))
    for batch in batches:
        assert len({pyramid[0].shape for pyramid, _, _ in batch}) == 1
    return [[number for _, _, number in batch] for batch in batches]


def test_batches_hold_equal_shapes_and_every_image_once(monkeypatch):
    shapes = [(8, 8), (8, 12), (8, 8), (12, 8), (8, 8), (8, 12), (8, 8)]
    assert batches_of(shapes, 2 * 8 * 8 * 3)[0] == [0, 2, 4]  # full at three, others at the end
    assert max(map(len, batches_of(shapes, 10**6))) == 4
    monkeypatch.setattr(multi_scale, "BUFFER_BYTES", 500)  # two small images and a half
    assert max(map(len, batches_of(shapes, 10**6))) <= 3


def test_resumed_images_are_left_out():
    images = [((np.zeros((8, 8, 3), np.uint8),), 0, number) for number in range(6)]
    batches = multi_scale.equal_shapes(images, np.array([1, 4]), 10**6)
    assert [number for batch in batches for _, _, number in batch] == [0, 2, 3, 5]


def test_strips_are_cut_to_their_middle():
    image = np.arange(2 * 100 * 3).reshape(2, 100, 3)
    np.testing.assert_array_equal(multi_scale.middle(image), image[:, 34:66])
    np.testing.assert_array_equal(multi_scale.middle(image[:, :32]), image[:, :32])
    tall = image.transpose(1, 0, 2)
    np.testing.assert_array_equal(multi_scale.middle(tall), tall[34:66])


def test_what_cannot_be_tested_at_several_scales(resnet18, photos):
    with pytest.raises(UsageError, match="size 16 is too small: resnet18 needs 32 pixels"):
        evaluate(resnet18, photos, views="multi-scale", sizes=(16, 32))
    fixed = Classifier("exported", resnet18.info, lambda images: images, (32, 32))
    with pytest.raises(UserError, match="one size only"):
        evaluate(fixed, photos, views="multi-scale")
