from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from keras_resnet.architectures import get_architecture
from keras_resnet.data import views
from keras_resnet.data.digits import digits_arrays
from keras_resnet.data.sources import open_dataset
from keras_resnet.errors import UsageError, UserError
from keras_resnet.evaluation import Classifier, evaluate, load_scores, open_classifier, protocols, running
from keras_resnet.saving import LoadedModel, ModelInfo, save_model


@pytest.fixture(scope="module")
def digits():
    return open_dataset("digits")


@pytest.fixture(scope="module")
def expected(resnet20):
    """Probabilities of the digits' test split, the plain way."""
    return resnet20.model.predict(digits_arrays("test")[0].astype(np.float32), batch_size=50, verbose=0)


@pytest.fixture(scope="module")
def damaged(photos, tmp_path_factory):
    """The photos, but number 7 of them is cut off."""
    folder = tmp_path_factory.mktemp("damaged")
    shutil.copytree(photos.name, folder, dirs_exist_ok=True)
    broken = folder / "test" / "cat" / "2.png"
    broken.write_bytes(broken.read_bytes()[:100])
    return open_dataset(str(folder))


def constant(labels: tuple[str, ...], info: ModelInfo, **changes) -> Classifier:
    """Always answers 1/2, 1/4, 1/8, … in the order of its own labels."""
    row = tf.constant([0.5**number for number in range(1, len(labels) + 1)])
    fields = {"predict": lambda images: tf.repeat(row[None], tf.shape(images)[0], axis=0), **changes}
    return Classifier("constant", replace(info, label_names=labels), **fields)


def test_single_view_is_what_the_model_predicts(resnet20, digits, expected):
    found = evaluate(resnet20, digits, batch_size=64)
    np.testing.assert_allclose(found.scores.probabilities, expected, atol=1e-6)
    labels = digits_arrays("test")[1]
    assert found.top1_error == pytest.approx(100 * np.mean(expected.argmax(1) != labels))
    assert (found.images, found.skipped, found.views) == (300, 0, "single")
    assert found.confusion.sum() == 300


def test_a_missing_answer_is_told_at_once():
    collected = running.Collected({"name": "best"}, classes=2)
    rows = (np.arange(2), np.array([0, 1], np.int32), np.array([[0.5, 0.5], [0.5, np.nan]]))
    with pytest.raises(UserError, match="best answers NaN: its training has diverged"):
        collected.add(rows)
    assert not collected.index


def test_vgg_is_not_tested_on_images_smaller_than_its_own():
    info = ModelInfo(get_architecture("vgg16"), ("a",), 64, 72)
    assert protocols.view_of(info, "multi-scale", (64, 96)).sizes == (64, 96)
    with pytest.raises(UsageError, match="size 32 is too small: vgg16 needs 64 pixels"):
        protocols.view_of(info, "multi-scale", (32, 96))


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_batch_size_changes_nothing(resnet20, digits, expected, batch_size):
    found = evaluate(resnet20, digits, batch_size=batch_size)
    np.testing.assert_array_equal(found.scores.index, np.arange(300))
    np.testing.assert_allclose(found.scores.probabilities, expected, atol=1e-6)


def test_every_saved_form_gives_the_same_numbers(resnet20, run_folder, digits, expected, tmp_path):
    from keras_resnet.export import export_model

    export_model(str(run_folder), str(tmp_path / "exported"))
    for path in (run_folder, run_folder / "model.keras", tmp_path / "exported", tmp_path / "exported" / "1"):
        found = evaluate(path, digits)
        assert found.models == (str(path),)
        np.testing.assert_allclose(found.scores.probabilities, expected, atol=1e-5, err_msg=str(path))


def test_ten_crops_average_probabilities(resnet18, photos):
    found = evaluate(resnet18, photos, views="10-crop", batch_size=40)
    view = views.eval_view("10-crop", 32, resize=resnet18.info.resize)
    for number, path in enumerate(photos.listings["test"].paths):
        image = tf.io.decode_png(tf.io.read_file(path), channels=3)
        crops = tf.cast(views.eval_ten_crops(image, view), tf.float32)
        mean = resnet18.model(crops, training=False).numpy().mean(axis=0)
        np.testing.assert_allclose(found.scores.probabilities[number], mean, atol=1e-5)
    assert found.views == "10-crop"
    single = evaluate(resnet18, photos)
    assert np.abs(single.scores.probabilities - found.scores.probabilities).max() > 1e-3


def test_an_ensemble_is_streamed_model_by_model_and_averaged(
    resnet20, run_folder, digits, expected, tmp_path
):
    labels = tuple("0123456789")
    file = tmp_path / "scores.npz"
    found = evaluate([run_folder, constant(labels, resnet20.info)], digits, save_scores=file)
    row = 0.5 ** np.arange(1, 11)
    np.testing.assert_allclose(found.scores.probabilities, (expected + row) / 2, atol=1e-6)
    assert found.models == (str(run_folder), "constant")
    np.testing.assert_array_equal(load_scores(file).probabilities, found.scores.probabilities)
    assert [entry.name for entry in tmp_path.iterdir()] == ["scores.npz"]


def test_an_interrupted_run_goes_on_where_it_stopped(run_folder, digits, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(running, "SAVE_EVERY", 0.0)
    started: list[int] = []
    limit = [3]

    class Interrupting(running.Replicated):
        def __call__(self, images):
            if len(started) == limit[0]:
                raise KeyboardInterrupt
            started.append(len(images))
            return super().__call__(images)

    monkeypatch.setattr(running, "Replicated", Interrupting)
    file = tmp_path / "scores.npz"
    with pytest.raises(KeyboardInterrupt):
        evaluate(run_folder, digits, batch_size=50, save_scores=file)
    assert not file.exists()
    done = 50 * 2  # the third batch had started, but nobody had waited for it
    limit[0] = 1000
    started.clear()
    found = evaluate(run_folder, digits, batch_size=64, save_scores=file)  # at another batch size
    assert sum(started) == 300 - done
    np.testing.assert_allclose(found.scores.probabilities, expected, atol=1e-6)
    assert [entry.name for entry in tmp_path.iterdir()] == ["scores.npz"]

    limit[0] = 3
    started.clear()
    with pytest.raises(KeyboardInterrupt):
        evaluate(run_folder, digits, batch_size=50, save_scores=file)
    limit[0] = 1000
    started.clear()
    evaluate(run_folder, digits, split="val", batch_size=50, save_scores=file)
    assert sum(started) == 300  # what was left is of another split


def test_half_a_file_of_an_interrupted_run_is_nothing_to_go_on_from(run_folder, digits, tmp_path):
    """A machine that dies while it writes may leave one."""
    (tmp_path / "scores.npz.1.partial").touch()
    found = evaluate(run_folder, digits, split="test[:20]", save_scores=tmp_path / "scores.npz")
    assert found.images == 20
    assert [entry.name for entry in tmp_path.iterdir()] == ["scores.npz"]


STRATEGY_SCRIPT = """
import json, sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 3)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1", "CPU:2"])
from keras_resnet.data.sources import open_dataset
from keras_resnet.evaluation import evaluate
found = evaluate(sys.argv[1], open_dataset("digits"), batch_size=32, strategy=strategy)
probabilities = found.scores.probabilities.tolist()
print(json.dumps({"index": found.scores.index.tolist(), "probabilities": probabilities}))
"""


def test_a_strategy_counts_every_image_once(run_folder, expected):
    command = [sys.executable, "-c", STRATEGY_SCRIPT, str(run_folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["index"] == list(range(300))  # 300 is not a multiple of 32, nor 32 of 3 replicas
    np.testing.assert_allclose(found["probabilities"], expected, atol=1e-6)


WORKER_SCRIPT = """
import json, os, sys
folder, data, worker, *ports = sys.argv[1:]
cluster = {"worker": [f"localhost:{port}" for port in ports]}
os.environ["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": int(worker)}})
import tensorflow as tf
strategy = tf.distribute.MultiWorkerMirroredStrategy()
from keras_resnet.data.sources import open_dataset
from keras_resnet.evaluation import evaluate
answers = []
for batch_size in (4, 64):  # with 64, all images are the first worker's
    found = evaluate(folder, open_dataset(data), batch_size=batch_size, strategy=strategy, skip_limit=0.1)
    scores = found.scores
    answers.append([scores.index.tolist(), scores.probabilities.tolist(), scores.skipped])
print(json.dumps(answers))
"""


def test_workers_share_the_images_and_all_know_the_result(network, damaged, tmp_path):
    saved = network("resnet20", damaged.label_names, 32)
    file = save_model(saved.model, saved.info, tmp_path / "model.keras")
    expected = evaluate(saved, damaged, skip_limit=0.1).scores
    with socket.socket() as first, socket.socket() as second:
        for each in (first, second):
            each.bind(("localhost", 0))
        ports = [str(each.getsockname()[1]) for each in (first, second)]
    command = [sys.executable, "-c", WORKER_SCRIPT, str(file), damaged.name]
    workers = [
        subprocess.Popen(
            [*command, worker, *ports], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for worker in "01"
    ]
    for output, errors in [worker.communicate(timeout=120) for worker in workers]:
        assert output, errors[-2000:]
        for index, probabilities, skipped in json.loads(output.splitlines()[-1]):
            assert index == expected.index.tolist()
            assert tuple(skipped) == expected.skipped
            np.testing.assert_allclose(probabilities, expected.probabilities, atol=1e-6)


def test_classes_are_matched_by_name(resnet20, digits):
    reverse = tuple("9876543210")
    found = evaluate(constant(reverse, resnet20.info), digits)
    assert found.scores.probabilities[0].argmax() == 9
    # Names that the data does not know, and the mere numbers of a model without description: by position.
    for labels in (tuple("abcdefghij"), tuple(str(number) for number in range(10))):
        order = protocols.class_order(constant(labels, resnet20.info), replace(digits, label_names=reverse))
        assert order.tolist() == list(range(10))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (("a", "b"), r"constant has 2 classes \(a, b\), digits has 10 \(0, 1, 2, …\)"),
        (tuple("1abcdefghi"), "class '1' is number 1 in digits and number 0 in constant"),
    ],
)
def test_classes_that_do_not_match_are_refused(resnet20, digits, labels, message):
    with pytest.raises(UserError, match=message):
        evaluate(constant(labels, resnet20.info), digits)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"views": "11-crop"}, "unknown views '11-crop'; choose one of single, 10-crop, multi-scale"),
        ({"views": "10-crop"}, "ten crops are all the same"),
        ({"views": "multi-scale"}, "CIFAR network"),
        ({"split": "nowhere"}, "no split 'nowhere'"),
        ({"batch_size": 0}, "at least 1"),
    ],
)
def test_impossible_requests(resnet20, digits, arguments, message):
    with pytest.raises(UsageError, match=message):
        evaluate(resnet20, digits, **arguments)


def test_files_that_are_missing_or_unwritable_are_told_at_once(resnet20, digits, tmp_path):
    with pytest.raises(UserError, match="no model at"):
        evaluate(tmp_path / "nothing", digits)
    with pytest.raises(UserError, match="cannot write"):
        evaluate(resnet20, digits, save_scores=tmp_path)
    never = constant(tuple("0123456789"), resnet20.info, predict=lambda images: pytest.fail("was run"))
    with pytest.raises(UserError, match=r"no model at .*nothing: expected a run folder"):
        evaluate([never, tmp_path / "nothing"], digits)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    with pytest.raises(UserError, match=r"run has no model\.keras yet"):
        evaluate([never, tmp_path / "run"], digits)
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"")
    with pytest.raises(UserError, match="was it exported by keras-resnet export"):
        open_classifier(tmp_path)


def test_a_model_that_ends_in_logits_gets_its_softmax(network, digits, expected):
    logits = network("resnet20", tuple("0123456789"), 32, classifier_activation=None)
    found = evaluate(LoadedModel(logits.model, logits.info), digits)
    np.testing.assert_allclose(found.scores.probabilities, expected, atol=1e-6)


def test_a_model_that_diverged_is_refused(resnet20, digits):
    nowhere = constant(
        tuple("0123456789"), resnet20.info, predict=lambda images: tf.fill([tf.shape(images)[0], 10], np.nan)
    )
    with pytest.raises(UserError, match="constant answers NaN: its training has diverged"):
        evaluate(nowhere, digits)


def test_a_split_without_a_readable_image_is_told(resnet18, damaged):
    with pytest.raises(UserError, match=r"nothing to evaluate: .* has no readable image"):
        evaluate(resnet18, damaged, split="test[7:8]", views="10-crop", skip_limit=1.0)


def test_unreadable_images_are_skipped_and_counted(resnet18, photos, damaged):
    whole = evaluate(resnet18, photos)
    for views_name in ("single", "multi-scale"):
        found = evaluate(resnet18, damaged, views=views_name, sizes=[32], batch_size=4, skip_limit=0.1)
        assert (found.images, found.skipped) == (14, 1)
        assert found.scores.skipped == (damaged.listings["test"].paths[7],)
        assert found.scores.index.tolist() == [number for number in range(15) if number != 7]
        if views_name == "single":
            kept = whole.scores.probabilities[found.scores.index]
            np.testing.assert_allclose(found.scores.probabilities, kept, atol=1e-6)
    with pytest.raises(UserError, match="unreadable"):
        evaluate(resnet18, damaged, skip_limit=0.01)
