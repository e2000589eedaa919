"""The model card: for each network what it has, and never in the place of a README.md that is not ours."""

from __future__ import annotations

import importlib.metadata
import json
import tomllib
from pathlib import Path

import pytest
from saved_networks import random_model, saved_network, tiny

import keras_resnet
from keras_resnet.architectures import get_architecture
from keras_resnet.errors import UsageError, UserError
from keras_resnet.export import export_model, saved_model
from keras_resnet.export.card import build_card, provenance, readme
from keras_resnet.export.folding import fold
from keras_resnet.saving import ModelInfo, save_model
from keras_resnet.weights.state import get_state

pytestmark = pytest.mark.usefixtures("shallow_networks")


@pytest.fixture(scope="module")
def keras_file(tmp_path_factory) -> Path:
    return saved_network(tmp_path_factory.mktemp("models") / "pets.keras")


@pytest.fixture(scope="module")
def card(keras_file) -> dict:
    result = export_model(keras_file, keras_file.parent / "export", ten_crop=True)
    return json.loads((Path(result.path).parent / "keras_resnet.json").read_text(encoding="utf-8"))


def test_it_names_the_endpoints_that_there_are(card):
    names = ["serving_default", "classify_bytes", "features", "explain", "classify_10_crop"]
    assert sorted(card["export"]["endpoints"]) == sorted(names)
    for name in names:
        assert f"- `{name}`: " in readme(card)
    assert "images [N, 32, 32, 3]" in readme(card)
    vgg = {**card, "export": {**card["export"], "endpoints": ["serving_default"]}}
    assert "`explain`" not in readme(vgg)


def test_a_vgg_has_no_heat_maps(tmp_path):
    architecture = tiny("vgg16", blocks=1)
    network = fold(architecture, get_state(random_model(architecture, input_shape=(32, 32, 3))))
    info = ModelInfo(architecture, ("a", "b", "c"), 32, 32)
    names = saved_model.write(network, info, "float32", (32, 32), False, tmp_path)
    assert names == ["serving_default", "classify_bytes", "features"]


def test_it_names_its_version_its_errors_and_the_images_of_the_comparison(card):
    assert (card["export"]["version"], card["export"]["compared_on"]) == (1, "16 crops of two photos")
    text = readme(card)
    for row in (
        "version | 1",
        "val error | 12.50 %",
        "Keras model | on 16 crops of two photos: same top-1 class",
    ):
        assert f"{row}" in text
    assert 'tf.saved_model.load("1")' in text
    results = {"split": "val", "top1_error": 1 / 3, "views": "single"}
    text = readme({**card, "model": {**card["model"], "results": results}})
    assert "| top-1 error | 0.33 % (val split, single view) |" in text
    text = readme({**card, "model": {**card["model"], "results": {**results, "images": 3000}}})
    assert "| top-1 error | 0.33 % (val split, 3,000 images, single view) |" in text
    assert "| errors | not recorded |" in readme({**card, "model": {**card["model"], "results": {}}})


def test_labels_stay_in_their_cell(card):
    labels = {**card["model"], "label_names": ["a|b", "c\nd", "e"]}
    assert "\n| classes | a\\|b, c d, e |\n" in readme({**card, "model": labels})


def test_a_readme_of_somebody_else_stays(keras_file, tmp_path):
    (tmp_path / "README.md").write_text("my project")
    with pytest.raises(UserError, match=r"has a README\.md of its own, .*: export elsewhere"):
        export_model(keras_file, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
    assert (tmp_path / "README.md").read_text() == "my project"


@pytest.mark.parametrize(
    ("options", "different"),
    [
        ({"name": "resnet32"}, "architecture"),
        ({"classes": 4}, "labels"),
        ({"size": 40}, "image size, resize"),
    ],
)
def test_another_model_does_not_become_the_next_version(card, keras_file, tmp_path, options, different):
    folder = keras_file.parent / "export"
    before = sorted(folder.rglob("*"))
    other = saved_network(tmp_path / "other.keras", **options)
    message = (
        rf"export has exports of another model \(resnet20; different: {different}\): choose another --out"
    )
    with pytest.raises(UserError, match=message):
        export_model(other, folder)
    assert sorted(folder.rglob("*")) == before


def test_what_is_no_card_is_not_replaced(keras_file, tmp_path):
    (tmp_path / "keras_resnet.json").mkdir()
    with pytest.raises(UserError, match=r"keras_resnet\.json is not a model card: choose another --output"):
        export_model(keras_file, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["keras_resnet.json"]


def test_the_version_is_the_packages_own_installed_or_not(keras_file, monkeypatch):
    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata.Distribution, "from_name", absent)
    assert provenance(keras_file)["keras_resnet"] == keras_resnet.__version__


def test_the_version_is_written_down_once():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" in project["project"]["dynamic"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "keras_resnet.__version__"}


def test_ten_crops_that_are_all_the_same_are_refused(tmp_path):
    architecture = get_architecture("resnet20")
    info = ModelInfo(architecture, ("a", "b", "c"), 32, 32)
    path = save_model(random_model(architecture), info, tmp_path / "m.keras")
    with pytest.raises(UsageError, match="whole images of 32 pixels: its ten crops are all the same"):
        export_model(path, tmp_path / "export", ten_crop=True)
    assert not (tmp_path / "export").exists()


def test_other_ends_than_softmax_and_logits_are_named(tmp_path):
    architecture = get_architecture("resnet20")
    info = ModelInfo(architecture, ("a", "b", "c"), 32, 32)
    model = random_model(architecture, classifier_activation="sigmoid")
    path = save_model(model, info, tmp_path / "m.keras")
    with pytest.raises(UserError, match="ends in 'sigmoid'; only softmax and logits can be exported"):
        export_model(path, tmp_path / "export")
    assert not (tmp_path / "export").exists()


def test_cards_without_endpoints_have_none(card):
    files = {**card["export"], "format": "onnx"}
    files.pop("endpoints")
    text = readme(build_card(ModelInfo.from_json(card["model"]), files))
    assert "Endpoints" not in text and "onnxruntime" in text
