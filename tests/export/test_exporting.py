from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
from pathlib import Path

import keras
import numpy as np
import pytest
import shallow
import tensorflow as tf
from click.testing import CliRunner
from saved_networks import picture, random_model, saved_network

from keras_resnet.architectures import get_architecture
from keras_resnet.cli import main
from keras_resnet.errors import UsageError, UserError
from keras_resnet.export import export_model, exporting, parity, reference, saved_model
from keras_resnet.export.card import checksum
from keras_resnet.export.images import _some
from keras_resnet.saving import ModelInfo, default_name, save_model

pytestmark = pytest.mark.usefixtures("shallow_networks")
PARAMETERS = shallow.SHALLOW["resnet20"].parameters(classes=3)


@pytest.fixture(scope="module")
def keras_file(tmp_path_factory) -> Path:
    return saved_network(tmp_path_factory.mktemp("models") / "pets.keras")


@pytest.fixture(scope="module")
def result(keras_file):
    return export_model(str(keras_file), str(keras_file.parent / "export"), precision="bfloat16")


def test_the_result_says_what_was_written(result, keras_file):
    path = Path(result.path)
    assert path == keras_file.parent / "export" / "1"
    assert (path / "saved_model.pb").is_file()
    assert (result.format, result.precision, result.images, result.top1_agreement) == (
        "saved_model",
        "bfloat16",
        16,
        1.0,
    )
    assert 0 < result.max_difference < 0.05
    assert 0 < result.bytes <= sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    assert json.loads(json.dumps(result.to_json()))["sha256"] == result.sha256


def test_the_card_lies_in_the_version_and_beside_it(result, keras_file):
    path = Path(result.path)
    card = json.loads((path / "assets.extra" / "keras_resnet.json").read_text(encoding="utf-8"))
    info = ModelInfo.from_json(card["model"])
    assert info.label_names == ("cat", "dog", "émeu")
    assert (info.image_size, info.resize, info.dataset, info.recipe) == (32, 36, "pets", "digits")
    assert card["parameters"] == PARAMETERS
    assert card["export"]["precision"] == "bfloat16"
    assert card["export"]["max_difference"] == result.max_difference
    assert card["export"]["source_sha256"] == checksum(keras_file)
    readme = (path / "assets.extra" / "README.md").read_text(encoding="utf-8")
    for fact in ("resnet20", f"{PARAMETERS:,}", "pets", "12.5", "émeu", result.sha256, "bfloat16"):
        assert fact in readme
    for name in ("keras_resnet.json", "README.md"):
        assert (path.parent / name).read_bytes() == (path / "assets.extra" / name).read_bytes()


def test_the_cards_program_runs_as_it_stands(result, monkeypatch, tmp_path, capsys):
    readme = (Path(result.path).parent / "README.md").read_text(encoding="utf-8")
    program = re.search(r"```python\n(.*?)```", readme, re.DOTALL).group(1)
    (tmp_path / "photo.jpg").write_bytes(picture("JPEG"))
    monkeypatch.chdir(tmp_path)
    exec(program.replace('load("1")', f"load({result.path!r})"), {})
    assert re.search(r"(cat|dog|émeu)'?,? .*0\.\d+|b'", capsys.readouterr().out)


def test_anybody_can_check_the_sums(result):
    run = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=result.path, capture_output=True, text=True)
    assert run.returncode == 0
    files = [path for path in Path(result.path).rglob("*") if path.is_file()]
    own = {"SHA256SUMS", "keras_resnet.json", "README.md"}  # the card names the sums, which cannot name it
    assert len(run.stdout.splitlines()) == len([path for path in files if path.name not in own]) >= 2
    assert checksum(Path(result.path) / "SHA256SUMS") == result.sha256


def test_a_failed_check_leaves_nothing_and_says_so(keras_file, tmp_path, monkeypatch):
    fold = reference.fold

    def wrong(architecture, state, epsilon):
        state["conv2_block1_bn1/moving_mean"] = state["conv2_block1_bn1/moving_mean"] + 1
        return fold(architecture, state, epsilon)

    monkeypatch.setattr(reference, "fold", wrong)
    with pytest.raises(UserError, match="not the same network, nothing was written"):
        export_model(str(keras_file), str(tmp_path / "export"))
    assert list(tmp_path.iterdir()) == []


def test_the_command_says_the_numbers_and_exits_1_where_they_are_too_large(keras_file, tmp_path, monkeypatch):
    command = ["export", str(keras_file), "--output", str(tmp_path / "export")]
    before = signal.getsignal(signal.SIGTERM)
    try:
        done = CliRunner().invoke(main, command)
        monkeypatch.setitem(parity.TOLERANCES, "float32", 1e-12)
        failed = CliRunner().invoke(main, command)
        with pytest.raises(SystemExit, match="143"):  # with which the half-written version goes
            signal.getsignal(signal.SIGTERM)(signal.SIGTERM, None)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert done.exit_code == 0
    assert re.search(
        r"same top class on 100\.0 % of 16 crops of two photos, .*\(allowed 0\.001\)", done.stdout
    )
    assert (failed.exit_code, failed.stdout) == (1, "")
    assert re.fullmatch(r"Error: the export.* nothing was written.*\n", failed.stderr)
    assert [path.name for path in (tmp_path / "export").glob("[0-9.]*")] == ["1"]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_channels_in_the_wrong_order_are_noticed(keras_file, tmp_path, monkeypatch, precision):
    fold = reference.fold

    def swapped(architecture, state, epsilon):
        state["conv1_conv/kernel"] = state["conv1_conv/kernel"][:, :, ::-1]
        return fold(architecture, state, epsilon)

    monkeypatch.setattr(reference, "fold", swapped)
    with pytest.raises(UserError, match="not the same network"):
        export_model(str(keras_file), str(tmp_path / "export"), precision=precision)


@pytest.mark.parametrize("endpoint", ["features", "explain", "classify_bytes"])
def test_an_endpoint_of_another_network_is_noticed(keras_file, tmp_path, monkeypatch, endpoint):
    method = f"_{endpoint}"
    right = getattr(saved_model.ExportModule, method)

    def wrong(self, inputs):
        return {name: value[::-1] for name, value in right(self, inputs).items()}  # of the other image

    monkeypatch.setattr(saved_model.ExportModule, method, wrong)
    with pytest.raises(UserError, match=f"endpoint {endpoint} does not agree with serving_default"):
        export_model(keras_file, tmp_path / "export")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_named_and_nothing_is_left(keras_file, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exporting.card, "write_card", full)
    with pytest.raises(UserError, match=r"cannot write to .*export: No space left on device"):
        export_model(str(keras_file), str(tmp_path / "export"))
    assert list(tmp_path.iterdir()) == []


def test_a_card_that_cannot_be_replaced_comes_too_late_for_an_error(result, keras_file, tmp_path, capsys):
    shutil.copy(Path(result.path).parent / "keras_resnet.json", tmp_path)
    (tmp_path / "README.md").mkdir()
    assert export_model(keras_file, tmp_path).path == str(tmp_path / "1")
    assert "1 is written, README.md beside it is not: Is a directory" in capsys.readouterr().err
    assert json.loads((tmp_path / "keras_resnet.json").read_text())["export"]["precision"] == "float32"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "README.md", "keras_resnet.json"]


def test_given_images_are_compared(keras_file, tmp_path):
    files = []
    for seed in range(3):
        files.append(tmp_path / f"{seed}.jpg")
        files[-1].write_bytes(picture("JPEG", seed))
    result = export_model(str(keras_file), str(tmp_path / "export"), images=[str(file) for file in files])
    assert result.images == 3
    assert result.max_difference < 1e-6


def test_of_many_images_always_the_same_are_compared(keras_file, tmp_path, monkeypatch):
    for number, label in enumerate(["cat", "dog", "cat"]):
        (tmp_path / label).mkdir(exist_ok=True)
        (tmp_path / label / f"{number}.png").write_bytes(picture("PNG", number))
    monkeypatch.setattr("keras_resnet.export.images.MOST_IMAGES", 2)
    result = export_model(keras_file, tmp_path / "export", images=str(tmp_path))
    assert (result.images, result.max_difference < 1e-6) == (2, True)
    assert result.model_error in (0, 50, 100)  # the labels are those of the two
    files = [str(number) for number in range(9)]
    assert _some(files) == _some(files) == sorted(_some(files))
    assert len(_some(files)) == 2


def test_a_model_of_logits_is_exported_with_its_softmax(tmp_path):
    architecture = get_architecture("resnet20")
    model = random_model(architecture, classifier_activation=None)
    info = ModelInfo(architecture, ("a", "b", "c"), 32, 32)
    result = export_model(str(save_model(model, info, tmp_path / "m.keras")), str(tmp_path / "export"))
    exported = tf.saved_model.load(result.path)
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype(np.float32)
    answer = exported.signatures["serving_default"](images=tf.constant(images))["probabilities"]
    np.testing.assert_allclose(answer, keras.ops.softmax(model(images)), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("path", "name"),
    [("runs/seven", "seven"), ("runs/seven/model.keras", "seven"), ("models/pets.keras", "pets")],
)
def test_default_name(path, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("runs/seven").mkdir(parents=True)
    assert default_name(path) == name


def test_default_folder(keras_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert export_model(str(keras_file)).path == str(Path("exports/pets/1"))
    assert export_model(str(keras_file)).path == str(Path("exports/pets/2"))


def test_a_classifier_without_bias_is_exported(tmp_path):
    body = random_model(
        shallow.SHALLOW["resnet20"], input_shape=(32, 32, 3), include_top=False, pooling="avg"
    )
    logits = keras.layers.Dense(3, "softmax", use_bias=False, name="predictions")(body.output)
    keras.Model(body.input, logits).save(tmp_path / "m.keras")
    assert export_model(str(tmp_path / "m.keras"), str(tmp_path / "export")).max_difference < 1e-4


def test_a_network_of_oblong_images_is_not_exported(tmp_path):
    random_model(shallow.SHALLOW["resnet20"], input_shape=(32, 48, 3)).save(tmp_path / "m.keras")
    with pytest.raises(UserError, match="takes images of 32 × 48 pixels; only squares are exported"):
        export_model(str(tmp_path / "m.keras"), str(tmp_path / "export"))
    assert not (tmp_path / "export").exists()


def test_unknown_formats_and_precisions_name_those_there_are(keras_file):
    with pytest.raises(UsageError, match="unknown format 'pickle'; choose one of saved_model, onnx, litert"):
        export_model(str(keras_file), format="pickle")
    with pytest.raises(UsageError, match="no precision 'float8'; choose float32, bfloat16"):
        export_model(str(keras_file), precision="float8")


def test_a_missing_model_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no model at .*nowhere"):
        export_model(str(tmp_path / "nowhere"))


def test_an_export_is_no_model_to_export(result, tmp_path):
    folder = Path(result.path)
    for path in (folder, folder.parent, tmp_path / "pets.onnx", tmp_path / "pets-int8.tflite"):
        with pytest.raises(UserError, match="is an export already: export the run or "):
            export_model(path)
