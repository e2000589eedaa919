from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from saved_networks import picture, pixels, saved_network, tiny

from keras_resnet.builders import build_model
from keras_resnet.errors import UserError
from keras_resnet.evaluation import explain
from keras_resnet.export import export_model
from keras_resnet.serving.endpoints import load_served

pytestmark = pytest.mark.usefixtures("shallow_networks")
FILES = np.array([picture("PNG", 1), picture("JPEG", 2)], object)


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("home")
    saved_network(home / "run" / "model.keras", classes=7)
    (home / "run" / "run.json").write_text("{}")
    for _ in range(2):
        export_model(str(home / "run"), str(home / "pets"))
    return home


@pytest.fixture(scope="module")
def exported(home):
    return load_served(str(home / "pets"))


def test_a_folder_of_versions_is_served_by_its_newest(home, exported):
    assert (exported.name, exported.version) == ("pets", 2)
    assert (load_served(str(home / "pets" / "1")).name, load_served(str(home / "pets" / "1")).version) == (
        "pets",
        1,
    )
    assert load_served(str(home / "run")).name == "run"
    assert load_served(str(home / "run"), "other").name == "other"


def test_a_run_is_served_under_the_name_of_its_folder(home, tmp_path):
    shutil.copytree(home / "run", tmp_path / "digits-lr0.1")
    assert load_served(tmp_path / "digits-lr0.1").name == "digits-lr0.1"
    assert load_served(tmp_path / "digits-lr0.1" / "model.keras").name == "digits-lr0.1"


def test_every_form_has_the_same_endpoints_and_answers(home, exported):
    keras = load_served(str(home / "run"))
    for name in ("serving_default", "classify_bytes"):
        assert keras.endpoints[name].inputs == exported.endpoints[name].inputs
    images = {"images": np.stack([pixels(seed, 32, 32) for seed in range(2)]).astype(np.float32)}
    for name, arrays in {"serving_default": images, "classify_bytes": {"image_bytes": FILES}}.items():
        ours, theirs = keras.endpoints[name].run(arrays), exported.endpoints[name].run(arrays)
        assert list(ours) == list(theirs) or sorted(ours) == sorted(theirs)
        for key in ours:
            if key == "top_labels":
                assert ours[key].tolist() == theirs[key].tolist()
            else:
                np.testing.assert_allclose(ours[key], theirs[key], rtol=0, atol=1e-6)


def test_every_form_explains_alike(home, exported):
    keras = load_served(str(home / "run"))
    view = pixels(3, 32, 32)
    np.testing.assert_allclose(keras.explain(view), exported.explain(view), rtol=0, atol=1e-5)


def test_the_model_behind_heat_maps_is_built_once(home, monkeypatch):
    built = []
    of = explain.heatmaps_of
    monkeypatch.setattr(explain, "heatmaps_of", lambda model: built.append(model) or of(model))
    served = load_served(str(home / "run"))
    first, second, again = (served.explain(pixels(seed, 32, 32)) for seed in (1, 2, 1))
    assert len(built) == 1
    assert np.abs(first - second).max() > 0.01
    np.testing.assert_array_equal(first, again)


def test_a_network_without_classifier_is_named(tmp_path):
    architecture = tiny("resnet20", blocks=1)
    model = build_model(architecture, include_top=False, pooling="avg")
    path = tmp_path / "m.keras"
    model.save(path)
    with pytest.raises(UserError, match=r"m\.keras has no classifier: it ends in"):
        load_served(path)


@pytest.mark.parametrize("form", ["run", "pets"])
def test_bytes_that_are_no_image_are_an_error_of_the_call(home, form):
    endpoint = load_served(str(home / form)).endpoints["classify_bytes"]
    with pytest.raises(tf.errors.InvalidArgumentError):
        endpoint.run({"image_bytes": np.array([b"hello"], object)})
    assert endpoint.run({"image_bytes": FILES})["top_labels"].shape == (2, 5)


def test_a_missing_model_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no model at .*nowhere"):
        load_served(str(tmp_path / "nowhere"))
