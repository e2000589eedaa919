"""An evaluation as a page: errors by class, confusions, calibration and the most confident mistakes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from keras_resnet.evaluation import charts
from keras_resnet.evaluation.mistakes import gallery
from keras_resnet.evaluation.result import WHOLE_MATRIX, Evaluation, mcnemar
from keras_resnet.pages.blocks import (
    Block,
    Code,
    Folded,
    KeyNumber,
    KeyNumbers,
    Matrix,
    Page,
    Paragraph,
    Plot,
    Section,
    Table,
)
from keras_resnet.pages.writing import write_page

if TYPE_CHECKING:
    from keras_resnet.data.sources import Dataset

SHOWN_CLASSES = 20
SHOWN_CONFUSIONS = 20
SHOWN_SKIPPED = 200


def write_report(
    evaluation: Evaluation,
    path: str | os.PathLike[str],
    *,
    dataset: Dataset | None = None,
    baseline: Evaluation | None = None,
    mistakes: int = 24,
) -> Path:
    """Write the report of `evaluation` as an HTML file, or as Markdown where `path` ends in .md.

    Args:
        evaluation: what to report.
        path: the file to write.
        dataset: where the images are; with it the page shows the most confident mistakes.
        baseline: another evaluation on the same images to compare with (McNemar's test).
        mistakes: how many mistakes to show.

    Raises:
        UserError: the file cannot be written, or `dataset` or `baseline` are about other images.
    """
    scores = evaluation.scores
    sections = [
        _summary(evaluation),
        _comparison(evaluation, baseline) if baseline else None,
        _classes(evaluation),
        _confusions(evaluation),
        _calibration(evaluation),
        _mistakes(evaluation, dataset, mistakes) if dataset else None,
        _skipped(evaluation),
    ]
    title = f"{_name(evaluation)}: {evaluation.top1_error:.2f} % error"
    subtitle = f"{evaluation.images:,} images of {scores.dataset} ({scores.split})"
    return write_page(Page(title, subtitle, [section for section in sections if section]), path)


def _name(evaluation: Evaluation) -> str:
    return " + ".join(Path(model).name for model in evaluation.models)


def _summary(evaluation: Evaluation) -> Section:
    scores = evaluation.scores
    numbers = []
    for name in evaluation.errors_shown:
        low, high = evaluation.intervals[name]
        label = "top-1 error" if name == "top1_error" else "top-5 error"
        note = f"95 % interval {low:.2f} to {high:.2f}"
        numbers.append(KeyNumber(label, f"{getattr(evaluation, name):.2f} %", note))
    numbers.append(KeyNumber("images", f"{evaluation.images:,}", f"{evaluation.skipped} unreadable, skipped"))
    numbers.append(
        KeyNumber("calibration error", f"{evaluation.ece:.2%}", "expected |accuracy − confidence|")
    )
    facts = [
        ("model" if len(scores.models) == 1 else "ensemble of", ", ".join(scores.models)),
        ("data", f"{scores.dataset}, split {scores.split}, {len(scores.label_names)} classes"),
        ("views", _VIEWS.get(scores.views, scores.views)),
    ]
    return Section("Summary", [KeyNumbers(numbers), Table(("what", ""), facts)])


_VIEWS = {
    "single": "single: one central crop",
    "10-crop": "10-crop: corners and centre with mirror images, probabilities averaged",
    "multi-scale": "multi-scale: whole images at several sizes, with mirror images, probabilities averaged",
}


def _comparison(evaluation: Evaluation, baseline: Evaluation) -> Section:
    found = mcnemar(evaluation, baseline)
    difference = evaluation.top1_error - baseline.top1_error
    verdict = "more than chance explains" if found.p_value < 0.05 else "which chance alone may explain"
    text = (
        f"Its error is {baseline.top1_error:.2f} %: a difference of {difference:+.2f} points, {verdict} "
        f"(McNemar's exact test, p = {found.p_value:.2g}). {found.only_first_right} images are right here "
        f"only, {found.only_second_right} there only."
    )
    return Section(f"Compared with {_name(baseline)}", [Paragraph(text, emphasis=True)])


def _classes(evaluation: Evaluation) -> Section:
    errors, names = evaluation.per_class_error, evaluation.scores.label_names
    images = evaluation.confusion.sum(axis=1)
    known = np.flatnonzero(~np.isnan(errors))  # classes that have images
    order = known[np.argsort(-errors[known], kind="stable")]
    worst = max(1e-9, float(errors[order[0]])) if len(order) else 1.0

    def table(classes: np.ndarray) -> Table:
        rows = [(names[i], f"{errors[i]:.1f}", f"{images[i]:,}") for i in classes]
        return Table(("class", "error %", "images"), rows, bars=[float(errors[i]) / worst for i in classes])

    blocks: list[Block] = [table(order[:SHOWN_CLASSES])]
    if len(rest := order[SHOWN_CLASSES:]):
        blocks.append(Folded(f"{len(rest)} more classes", table(rest)))
    return Section("Errors by class", blocks)


def _confusions(evaluation: Evaluation) -> Section:
    names, confusion = evaluation.scores.label_names, evaluation.confusion
    if len(names) <= WHOLE_MATRIX:
        return Section("Confusions", [Matrix(names, confusion.tolist(), "is ↓ taken for →")])
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    cells = np.argsort(-wrong, axis=None, kind="stable")[:SHOWN_CONFUSIONS]
    rows = [
        (names[cell // len(names)], names[cell % len(names)], f"{wrong.flat[cell]:,}")
        for cell in cells
        if wrong.flat[cell]
    ]
    shown = Table(("is", "taken for", "images"), rows) if rows else Paragraph("None.")
    return Section("Most frequent confusions", [shown])


def _calibration(evaluation: Evaluation) -> Section:
    caption = (
        "How often the model is right at each confidence. Bars below the dashed line: it is more confident "
        "than it should be."
    )
    diagram = charts.reliability_diagram(evaluation.calibration)
    return Section("Calibration", [Plot([diagram], caption, "calibration")])


def _mistakes(evaluation: Evaluation, dataset: Dataset, count: int) -> Section:
    return Section(
        "Most confident mistakes", [gallery(evaluation.scores, dataset, count) or Paragraph("None.")]
    )


def _skipped(evaluation: Evaluation) -> Section | None:
    names = evaluation.scores.skipped
    if not names:
        return None
    return Section("Unreadable files", [Code("\n".join(names[:SHOWN_SKIPPED]))])
