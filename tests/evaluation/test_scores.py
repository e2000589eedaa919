from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from keras_resnet.errors import UserError
from keras_resnet.evaluation import Evaluation, combine_scores, load_scores, mcnemar
from keras_resnet.evaluation.scores import Scores, average, save_scores


def some_scores(seed: int, models: tuple[str, ...] = ("a",), images: int = 40, classes: int = 7) -> Scores:
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet(np.ones(classes), images).astype(np.float32)
    labels = np.random.default_rng(0).integers(0, classes, images).astype(np.int32)
    names = tuple(f"class {number}" for number in range(classes))
    index = np.arange(images, dtype=np.int64)
    return Scores(models, "data", "test", "single", names, index, labels, probabilities, ("broken.jpg",))


def test_saved_scores_come_back(tmp_path):
    scores = some_scores(1)
    loaded = load_scores(save_scores(scores, tmp_path / "new" / "scores.npz"))
    for name in ("index", "labels", "probabilities"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(scores, name))
    assert loaded.skipped == scores.skipped
    assert (loaded.models, loaded.label_names, loaded.views) == (("a",), scores.label_names, "single")
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["scores.npz"]


def test_an_ensemble_is_the_mean_over_models_not_over_files(tmp_path):
    parts = [some_scores(1), some_scores(2, ("b", "c")), replace(some_scores(3), views="10-crop")]
    files = [save_scores(part, tmp_path / f"{number}.npz") for number, part in enumerate(parts)]
    found = combine_scores(files)
    p, q, r = (part.probabilities.astype(np.float64) for part in parts)
    np.testing.assert_allclose(found.scores.probabilities, (p + 2 * q + r) / 4, atol=1e-7)
    assert found.models == ("a", "b", "c", "a")
    assert found.views == "single + 10-crop"
    expected = 100 * np.mean(((p + 2 * q + r) / 4).argmax(1) != parts[0].labels)
    assert found.top1_error == pytest.approx(expected)


def test_scores_of_other_images_do_not_combine(tmp_path):
    first = some_scores(1)
    with pytest.raises(UserError, match="on other images"):
        average([first, some_scores(1, images=39)])
    with pytest.raises(UserError, match="on other images"):  # class by class, as many as in the other split
        average([first, replace(first, split="val")])
    with pytest.raises(UserError, match="other classes"):
        average([first, replace(first, label_names=first.label_names[::-1])])
    with pytest.raises(UserError, match="no such file"):
        combine_scores([tmp_path / "missing.npz"])
    (tmp_path / "no.npz").write_text("no")
    np.savez(tmp_path / "other.npz", x=np.arange(3))
    for name in ("no.npz", "other.npz"):
        with pytest.raises(UserError, match="holds no scores"):
            combine_scores([tmp_path / name])


def test_all_numbers_of_an_evaluation():
    scores = some_scores(5)
    found = Evaluation.from_scores(scores)
    order = np.argsort(-scores.probabilities, axis=1)
    assert found.top1_error == pytest.approx(100 * np.mean(order[:, 0] != scores.labels))
    assert found.top5_error == pytest.approx(
        100 * np.mean([y not in row[:5] for y, row in zip(scores.labels, order, strict=True)])
    )
    low, high = found.intervals["top1_error"]
    assert low < found.top1_error < high
    assert found.confusion.sum() == found.images == 40
    assert 100 - 100 * np.trace(found.confusion) / 40 == pytest.approx(found.top1_error)
    document = json.loads(json.dumps(found.to_json(), allow_nan=False))
    keys = {"top1_error", "top5_error", "images", "skipped", "views", "models"}
    assert keys <= document.keys()
    assert (document["skipped"], document["skipped_files"]) == (1, ["broken.jpg"])


def test_files_that_hold_no_scores_are_told(tmp_path):
    np.save(tmp_path / "array.npy", np.zeros(3))
    (tmp_path / "empty.npz").touch()
    for name in ("array.npy", "empty.npz"):
        with pytest.raises(UserError, match=f"{name} holds no scores"):
            combine_scores([tmp_path / name])


def test_few_classes_and_absent_classes_are_valid_json():
    scores = some_scores(5, classes=3)
    scores = replace(scores, labels=np.minimum(scores.labels, 1))
    found = Evaluation.from_scores(scores)
    assert found.top5_error == 0.0  # all three classes are among the best five
    assert found.to_json()["per_class_error"][2] is None
    json.dumps(found.to_json(), allow_nan=False)


def test_of_many_classes_only_the_cells_that_are_not_0_are_told():
    found = Evaluation.from_scores(some_scores(6, classes=25))
    cells = found.to_json()["confusion"]
    assert sum(images for *_, images in cells) == found.confusion.sum() == 40
    assert all(found.confusion[true, predicted] == images > 0 for true, predicted, images in cells)
    json.dumps(cells)


def test_mcnemar_of_two_evaluations():
    first, second = (Evaluation.from_scores(some_scores(seed)) for seed in (1, 2))
    right = [e.scores.probabilities.argmax(1) == e.scores.labels for e in (first, second)]
    found = mcnemar(first, second)
    assert found.only_first_right == int((right[0] & ~right[1]).sum())
    assert found.only_second_right == int((right[1] & ~right[0]).sum())
    with pytest.raises(UserError, match="other images"):
        mcnemar(first, Evaluation.from_scores(some_scores(1, images=39)))
