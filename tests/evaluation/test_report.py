from __future__ import annotations

import re
import shutil
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from keras_resnet.data.digits import digits_arrays
from keras_resnet.data.sources import open_dataset
from keras_resnet.errors import UserError
from keras_resnet.evaluation import Evaluation, charts
from keras_resnet.evaluation.mistakes import confident_mistakes, write_mistakes_sheet
from keras_resnet.evaluation.report import write_report
from keras_resnet.evaluation.scores import Scores


@pytest.fixture
def scores() -> Scores:
    """A digits model that is right about 80 % of the time."""
    labels = digits_arrays("test")[1]
    random = np.random.default_rng(3)
    logits = random.normal(size=(300, 10)) * 1.5
    logits[np.arange(300), labels] += 3
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    names = tuple("0123456789")
    index = np.arange(300, dtype=np.int64)
    return Scores(
        ("runs/<a>",), "digits", "test", "single", names, index, labels, probabilities.astype(np.float32)
    )


class Page(HTMLParser):
    """Checks nesting; collects the tags and their attributes."""

    VOID = ("meta", "img", "br")

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def attributes(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_a_report_is_one_page_that_needs_nothing_else(scores, tmp_path):
    evaluation = Evaluation.from_scores(scores)
    path = write_report(evaluation, tmp_path / "new" / "report.html", dataset=open_dataset("digits"))
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert f"{evaluation.top1_error:.2f} %" in text
    assert "&lt;a&gt;" in text
    assert "<a>" not in text
    images = page.attributes("img")
    assert len(images) == 24
    assert all(image["src"].startswith("data:image/") for image in images)
    # No address but the name of the SVG standard, nothing loaded, no script.
    assert set(re.findall(r"https?://[^\"' ]+", text)) <= {"http://www.w3.org/2000/svg"}
    assert not page.attributes("script") and not page.attributes("link")
    assert "prefers-color-scheme: dark" in text
    assert "#010203" not in text  # the ink of drawings follows the page
    assert page.attributes("meta")[1]["content"].startswith("width=device-width")
    cells = re.findall(r'title="\d, \d">(\d*)</td>', text)
    assert sum(int(cell) for cell in cells if cell) == 300


def test_a_report_compares_two_models(scores, tmp_path):
    better = scores.probabilities.copy()
    better[np.arange(300), scores.labels] += 0.5
    good = Evaluation.from_scores(replace(scores, models=("good",), probabilities=better))
    text = write_report(good, tmp_path / "r.html", baseline=Evaluation.from_scores(scores)).read_text()
    Page(text)
    assert "McNemar" in text
    assert "more than chance explains" in text
    same = write_report(good, tmp_path / "r.html", baseline=good).read_text()
    assert "p = 1)" in same
    assert "chance alone may explain" in same


def test_many_classes_and_perfect_models_have_reports_too(tmp_path):
    classes = 60
    labels = np.arange(120, dtype=np.int32) % (classes - 1)  # the last class has no images
    index = np.arange(120, dtype=np.int64)
    names = tuple(f"class {number}" for number in range(classes))
    right = np.eye(classes, dtype=np.float32)[labels]
    scores = Scores(("perfect",), "data", "val", "10-crop", names, index, labels, right, ("bad.jpg",))
    text = write_report(Evaluation.from_scores(scores), tmp_path / "r.html").read_text()
    Page(text)
    assert "<pre>bad.jpg</pre>" in text
    assert "<summary>39 more classes</summary>" in text  # of the 59 that have images
    assert "nan" not in text.lower().replace("finance", "")
    text = write_report(Evaluation.from_scores(replace(scores, labels=labels[::-1])), tmp_path / "r.html")
    assert "taken for</th>" in text.read_text()


def test_of_few_classes_no_top5_error_is_shown(scores, tmp_path):
    """Of five classes or fewer, the best five always hold the right one."""
    few = replace(
        scores,
        label_names=tuple("01234"),
        labels=scores.labels % 5,
        probabilities=scores.probabilities[:, :5],
    )
    assert "top-5" in write_report(Evaluation.from_scores(scores), tmp_path / "many.html").read_text()
    assert "top-5" not in write_report(Evaluation.from_scores(few), tmp_path / "few.html").read_text()


def test_the_reliability_diagram_shows_the_numbers(scores):
    calibration = Evaluation.from_scores(scores).calibration
    svg = ElementTree.fromstring(charts.reliability_diagram(calibration))
    space = "{http://www.w3.org/2000/svg}"
    bars = [rect for rect in svg.iter(f"{space}rect") if rect.get("class") == "bar"]
    accuracy = calibration.accuracy[calibration.images > 0]
    heights = [float(bar.get("height")) / charts.SIDE for bar in bars]
    np.testing.assert_allclose(heights, accuracy, atol=1e-3)


def test_most_confident_mistakes_first(scores):
    found = confident_mistakes(scores, 10)
    confidence = [mistake.confidence for mistake in found]
    assert confidence == sorted(confidence, reverse=True)
    wrong = scores.probabilities.argmax(1) != scores.labels
    assert confidence[0] == scores.probabilities.max(1)[wrong].max()
    assert all(mistake.label != mistake.predicted for mistake in found)
    assert found[0].label == str(scores.labels[found[0].index])


def test_the_sheet_shows_the_images(scores, tmp_path):
    data = open_dataset("digits")
    path = write_mistakes_sheet(Evaluation.from_scores(scores), data, tmp_path / "sheet.png", count=7)
    first = confident_mistakes(scores, 1)[0]
    sheet = np.asarray(Image.open(path))
    digit = digits_arrays("test")[0][first.index].repeat(4, axis=0).repeat(4, axis=1)
    np.testing.assert_array_equal(sheet[16 : 16 + 128, 16 : 16 + 128], digit)  # 128 in a tile of 144
    assert sheet.shape[0] == 2 * (144 + 34 + 8) + 8


def constant_scores(data) -> Evaluation:
    """A model that takes everything for the last class, the first images most surely."""
    labels = data.listings["test"].labels
    images = len(labels)
    probabilities = np.zeros((images, data.classes), np.float32)
    probabilities[:, -1] = np.linspace(1.0, 0.9, images)
    index = np.arange(images, dtype=np.int64)
    scores = Scores(
        ("constant",), data.name, "test", "single", data.label_names, index, labels, probabilities
    )
    return Evaluation.from_scores(scores)


def test_the_sheet_refuses_other_data(scores, photos, tmp_path):
    with pytest.raises(UserError, match="has changed since"):
        write_mistakes_sheet(Evaluation.from_scores(scores), photos, tmp_path / "sheet.png")
    photos_scores = constant_scores(photos)
    folder = tmp_path / "photos"
    shutil.copytree(photos.name, folder)
    first = folder / "test" / "boat" / "0.png"
    first.write_bytes(first.read_bytes()[:100])  # damaged since
    with pytest.raises(UserError, match="has changed since"):
        write_mistakes_sheet(photos_scores, open_dataset(str(folder)), tmp_path / "sheet.png")
    first.unlink()  # all others have other numbers now, most of them the same label
    with pytest.raises(UserError, match="has changed since"):
        write_mistakes_sheet(photos_scores, open_dataset(str(folder)), tmp_path / "sheet.png", count=1)
    with pytest.raises(UserError, match="cannot write"):
        write_report(Evaluation.from_scores(scores), tmp_path)
