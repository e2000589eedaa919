from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from keras_resnet.backbone import features
from keras_resnet.errors import UsageError, UserError
from keras_resnet.evaluation.explain import explain, look_inside, overlay
from keras_resnet.saving import save_model


def heat_map(saved, image, label=None):
    found = look_inside(saved.model)(image[None], None if label is None else [label])
    return found["heatmap"][0].numpy()


@pytest.fixture(scope="module")
def image(photos) -> np.ndarray:
    return np.asarray(Image.open(photos.listings["test"].paths[3]))  # 64 × 64


@pytest.mark.parametrize("label", [None, 0, 2])
def test_heat_map_is_the_closed_form_of_average_pooling(resnet18, image, label):
    """Behind global average pooling, Grad-CAM is the map weighted by the class's own weights (CAM)."""
    feature_map = features(resnet18.model)(image[None].astype(np.float32), training=False)["C5"].numpy()[0]
    kernel = resnet18.model.get_layer("predictions").kernel.numpy()
    best = int(np.argmax(resnet18.model(image[None].astype(np.float32), training=False)[0]))
    expected = np.maximum(feature_map @ kernel[:, best if label is None else label], 0)
    expected = expected / max(expected.max(), 1e-12)
    heat = heat_map(resnet18, image, label)
    assert heat.shape == (2, 2)
    np.testing.assert_allclose(heat, expected, atol=1e-5)


def test_frozen_networks_can_be_explained(network, image):
    saved = network("resnet20", ("a", "b"), 32)
    heat = heat_map(saved, image[:32, :32])
    saved.model.trainable = False
    np.testing.assert_allclose(heat_map(saved, image[:32, :32]), heat, atol=1e-6)
    assert heat.shape == (8, 8)
    assert heat.max() == 1.0


def test_many_images_at_once_are_explained_as_one_by_one(resnet18, image):
    images = np.stack([image, image[::-1], image[:, ::-1]])
    found = look_inside(resnet18.model)(images, [0, 2, 1])
    expected = [heat_map(resnet18, view, label) for view, label in zip(images, [0, 2, 1], strict=True)]
    np.testing.assert_allclose(found["heatmap"], np.stack(expected), atol=1e-5)
    np.testing.assert_allclose(
        found["probabilities"], resnet18.model(images.astype(np.float32), training=False), atol=1e-6
    )


def test_overlay_is_hot_where_the_map_is():
    view = np.full((64, 64, 3), 128, np.uint8)
    heat = np.zeros((4, 4), np.float32)
    heat[0, 3] = 1
    picture = overlay(view, heat).astype(int)
    assert picture.shape == (256, 256, 3)
    red_over_blue = picture[..., 0] - picture[..., 2]
    assert red_over_blue[:40, -40:].mean() > 50
    assert abs(red_over_blue[-40:, :40].mean()) < 10


def test_explain_writes_a_picture(run_folder, photos, tmp_path):
    source = photos.listings["test"].paths[0]
    found = explain(run_folder, source, tmp_path / "new" / "out.png", label="7")
    assert (found.label, found.output) == ("7", tmp_path / "new" / "out.png")
    assert 0 <= found.probability <= 1
    with Image.open(found.output) as picture:
        assert picture.size == (512, 256)
        assert np.asarray(picture).std() > 10


def test_what_cannot_be_explained(run_folder, resnet20, tmp_path):
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(UserError, match="not a readable JPEG"):
        explain(run_folder, tmp_path / "text.png", tmp_path / "out.png")
    with pytest.raises(UserError, match="cannot read"):
        explain(run_folder, tmp_path / "missing.png", tmp_path / "out.png")
    Image.new("RGB", (32, 32)).save(tmp_path / "black.png")
    with pytest.raises(UsageError, match="has no class 'seven'"):
        explain(run_folder, tmp_path / "black.png", tmp_path / "out.png", label="seven")
    save_model(resnet20.model, resnet20.info, tmp_path / "model.keras")
    with pytest.raises(UserError, match="cannot write"):
        explain(tmp_path / "model.keras", tmp_path / "black.png", tmp_path / "text.png" / "out.png")
    with pytest.raises(UsageError, match=r"out\.jpg would be a PNG file"):
        explain(run_folder, tmp_path / "black.png", tmp_path / "out.jpg")
