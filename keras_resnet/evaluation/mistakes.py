"""A model's most confident mistakes: wrong labels, ambiguous images, or what it has not learned."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw

from keras_resnet.errors import UserError, writing
from keras_resnet.evaluation.result import Evaluation
from keras_resnet.evaluation.scores import Scores
from keras_resnet.pages.blocks import Gallery, Picture
from keras_resnet.pages.lettering import composed, font

if TYPE_CHECKING:
    from keras_resnet.data.sources import Dataset

TILE = 144  # pixels: side of one picture on the sheet
CAPTION = 34
COLUMNS = 6


@dataclass(frozen=True)
class Mistake:
    """One wrongly classified image: its number in the split, both classes by name, the probability."""

    index: int
    label: str
    predicted: str
    confidence: float


def confident_mistakes(scores: Scores, count: int = 24) -> list[Mistake]:
    """The `count` mistakes with the highest probability of the wrong class, most confident first."""
    predicted = scores.probabilities.argmax(axis=1)
    confidence = scores.probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != scores.labels)
    wrong = wrong[np.argsort(-confidence[wrong], kind="stable")][:count]
    names = scores.label_names
    return [
        Mistake(
            int(scores.index[row]), names[scores.labels[row]], names[predicted[row]], float(confidence[row])
        )
        for row in wrong
    ]


def pictures(mistakes: Sequence[Mistake], scores: Scores, dataset: Dataset) -> list[Image.Image]:
    """The images of `mistakes`, whole, fitted into squares of `TILE` pixels.

    Small ones are enlarged without smoothing: that is how the network sees them.

    Raises:
        UserError: the data set has other images than were scored.
    """
    found = _images(scores, dataset, {mistake.index for mistake in mistakes})
    fitted = []
    for mistake in mistakes:
        image, label = found.get(mistake.index, (None, -1))
        if image is None or dataset.label_names[label] != mistake.label:
            raise UserError(
                f"{dataset.name} ({scores.split}) has changed since it was scored: evaluate again"
            )
        picture = Image.fromarray(image)
        enlarge = TILE // max(picture.size)
        if enlarge > 1:
            size = (picture.width * enlarge, picture.height * enlarge)
            picture = picture.resize(size, Image.Resampling.NEAREST)
        else:
            picture.thumbnail((TILE, TILE))
        fitted.append(picture)
    return fitted


def _images(scores: Scores, dataset: Dataset, numbers: set[int]) -> dict[int, tuple[np.ndarray, int]]:
    """The images [H, W, 3] uint8 of these numbers with their labels, as far as they are what was scored.

    Only streams must be read through.
    """
    import tensorflow as tf

    from keras_resnet.data.decode import decode_image
    from keras_resnet.data.examples import split_examples, split_stream
    from keras_resnet.data.streams import evaluation_records

    found: dict[int, tuple[np.ndarray, int]] = {}
    if dataset.images(scores.split) != len(scores.index) + len(scores.skipped):
        return found  # a number may mean another image now
    stream = split_stream(dataset, scores.split)
    if stream is None:
        examples = split_examples(dataset, scores.split)
        for number in numbers:
            with suppress(tf.errors.OpError, UnicodeDecodeError):  # damaged since
                found[number] = examples.image(np.int64(number)).numpy(), int(examples.labels[number])
        return found
    wanted = tf.constant(sorted(numbers), tf.int64)
    records = evaluation_records(stream, 1, 1, 0).filter(lambda index, *_: tf.reduce_any(index == wanted))
    for index, contents, labels, _ in records.take(len(numbers)):
        with suppress(tf.errors.OpError, UnicodeDecodeError):
            found[int(index)] = decode_image(contents[0]).numpy(), int(labels[0])
    return found


def gallery(scores: Scores, dataset: Dataset, count: int = 24) -> Gallery | None:
    """The `count` most confident mistakes as pictures of a page, in that order; None where there are none.

    Raises:
        UserError: `dataset` has other images than were scored.
    """
    mistakes = confident_mistakes(scores, count)
    shown = [
        Picture(
            _encoded(picture), f"is {mistake.label}, taken for {mistake.predicted}, {mistake.confidence:.1%}"
        )
        for mistake, picture in zip(mistakes, pictures(mistakes, scores, dataset), strict=True)
    ]
    caption = f"{len(shown)} of the mistakes on {scores.dataset} ({scores.split}), most confident first."
    return Gallery(shown, "mistakes", caption) if shown else None


def _encoded(picture: Image.Image) -> bytes:
    """PNG for enlarged small pictures, which have few colours; JPEG for photos."""
    buffer = io.BytesIO()
    if picture.getcolors(4096):
        picture.save(buffer, format="PNG")
    else:
        picture.save(buffer, format="JPEG", quality=85)
    return buffer.getvalue()


def write_mistakes_sheet(
    evaluation: Evaluation, dataset: Dataset, path: str | os.PathLike[str], count: int = 24
) -> Path:
    """Write a PNG of the most confident mistakes, each with its true and predicted class and the probability.

    Raises:
        UserError: the file cannot be written, or `dataset` has changed since it was scored.
    """
    mistakes = confident_mistakes(evaluation.scores, count)
    rows = max(1, -(-len(mistakes) // COLUMNS))
    margin = 8
    width, height = COLUMNS * (TILE + margin) + margin, rows * (TILE + CAPTION + margin) + margin
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    letters = font(13)
    if not mistakes:
        draw.text((margin, margin), "no mistakes", "black", letters)
    for number, (mistake, picture) in enumerate(
        zip(mistakes, pictures(mistakes, evaluation.scores, dataset), strict=True)
    ):
        left = margin + number % COLUMNS * (TILE + margin)
        top = margin + number // COLUMNS * (TILE + CAPTION + margin)
        sheet.paste(picture, (left + (TILE - picture.width) // 2, top + (TILE - picture.height) // 2))
        lines = (f"is {mistake.label}, taken", f"for {mistake.predicted}, {mistake.confidence:.1%}")
        for line, text in enumerate(lines):
            draw.text(
                (left, top + TILE + 2 + line * 15), _fitting(composed(text), draw, letters), "black", letters
            )
    with writing(path):
        sheet.save(path, format="PNG")
    return Path(path)


def _fitting(text: str, draw: ImageDraw.ImageDraw, letters: Any) -> str:
    if draw.textlength(text, letters) <= TILE:
        return text
    while text and draw.textlength(text + "…", letters) > TILE:
        text = text[:-1]
    return text + "…"
