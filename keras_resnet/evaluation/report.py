"""An evaluation as one web page that needs nothing else: for a phone, for paper, in light and in dark."""

from __future__ import annotations

import base64
import io
import os
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from keras_resnet.errors import UserError
from keras_resnet.evaluation import charts
from keras_resnet.evaluation.mistakes import confident_mistakes, pictures
from keras_resnet.evaluation.result import Evaluation, mcnemar

if TYPE_CHECKING:
    from PIL import Image

    from keras_resnet.data.sources import Dataset

WHOLE_MATRIX = 20  # classes; a larger confusion matrix is shown by its largest cells
SHOWN_CLASSES = 20
SHOWN_CONFUSIONS = 20


def write_report(
    evaluation: Evaluation,
    path: str | os.PathLike[str],
    *,
    dataset: Dataset | None = None,
    baseline: Evaluation | None = None,
    mistakes: int = 24,
) -> Path:
    """Write the report of `evaluation` as an HTML file.

    Args:
        evaluation: what to report.
        path: the file to write.
        dataset: where the images are; with it the page shows the `mistakes` surest mistakes.
        baseline: another evaluation on the same images to compare with (McNemar's test).
        mistakes: how many of them.

    Raises:
        UserError: the file cannot be written, or `dataset` or `baseline` are about other images.
    """
    title = " + ".join(Path(model).name for model in evaluation.models)
    sections = [
        _summary(evaluation),
        _comparison(evaluation, baseline) if baseline else "",
        _classes(evaluation),
        _confusions(evaluation),
        _calibration(evaluation),
        _mistakes(evaluation, dataset, mistakes) if dataset else "",
        _skipped(evaluation),
    ]
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}: {evaluation.top1_error:.2f} % error</title><style>{_STYLE}</style></head>"
        f"<body><main><h1>{escape(title)}</h1>{''.join(sections)}</main></body></html>\n"
    )
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def _summary(evaluation: Evaluation) -> str:
    scores = evaluation.scores
    tiles = []
    for name, label in (("top1_error", "top-1 error"), ("top5_error", "top-5 error")):
        low, high = evaluation.intervals[name]
        note = f"95 % interval {low:.2f} to {high:.2f}"
        tiles.append(_tile(label, f"{getattr(evaluation, name):.2f} %", note))
    tiles.append(_tile("images", f"{evaluation.images:,}", f"{evaluation.skipped} unreadable, skipped"))
    tiles.append(_tile("calibration error", f"{evaluation.ece:.2%}", "expected |accuracy − confidence|"))
    facts = {
        "model" if len(scores.models) == 1 else "ensemble of": ", ".join(scores.models),
        "data": f"{scores.dataset}, split {scores.split}, {len(scores.label_names)} classes",
        "views": _VIEWS.get(scores.views, scores.views),
    }
    rows = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in facts.items())
    return f'<div class="tiles">{"".join(tiles)}</div><dl>{rows}</dl>'


_VIEWS = {
    "single": "single: one central crop",
    "10-crop": "10-crop: corners and centre with mirror images, probabilities averaged",
    "multi-scale": "multi-scale: whole images at several sizes, with mirror images, probabilities averaged",
}


def _tile(label: str, value: str, note: str) -> str:
    return f'<div class="tile"><p>{label}</p><strong>{value}</strong><p class="quiet">{note}</p></div>'


def _comparison(evaluation: Evaluation, baseline: Evaluation) -> str:
    found = mcnemar(evaluation, baseline)
    difference = evaluation.top1_error - baseline.top1_error
    verdict = "more than chance explains" if found.p_value < 0.05 else "which chance alone may explain"
    return _section(
        "Compared with " + " + ".join(Path(model).name for model in baseline.models),
        f"<p>Its error is {baseline.top1_error:.2f} %: a difference of {difference:+.2f} points, {verdict} "
        f"(McNemar's exact test, p = {found.p_value:.2g}). {found.only_first_right} images are right here "
        f"only, {found.only_second_right} there only.</p>",
    )


def _classes(evaluation: Evaluation) -> str:
    errors, names = evaluation.per_class_error, evaluation.scores.label_names
    images = evaluation.confusion.sum(axis=1)
    order = np.argsort(-np.where(np.isnan(errors), -1.0, errors), kind="stable")
    order = order[~np.isnan(errors[order])]
    shown, rest = order[:SHOWN_CLASSES], order[SHOWN_CLASSES:]
    more = ""
    if len(rest):
        table = charts.error_bars(errors, images, names, rest)
        more = f"<details><summary>{len(rest)} more classes</summary>{table}</details>"
    return _section("Errors by class", charts.error_bars(errors, images, names, shown) + more)


def _confusions(evaluation: Evaluation) -> str:
    names, confusion = evaluation.scores.label_names, evaluation.confusion
    if len(names) <= WHOLE_MATRIX:
        return _section("Confusions", charts.confusion_table(confusion, names))
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    cells = np.argsort(-wrong, axis=None, kind="stable")[:SHOWN_CONFUSIONS]
    rows = [
        f"<tr><td>{escape(names[cell // len(names)])}</td><td>{escape(names[cell % len(names)])}</td>"
        f'<td class="number">{wrong.flat[cell]}</td></tr>'
        for cell in cells
        if wrong.flat[cell]
    ]
    table = (
        '<div class="wide"><table><thead><tr><th>is</th><th>taken for</th><th>images</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )
    return _section("Most frequent confusions", table if rows else "<p>None.</p>")


def _calibration(evaluation: Evaluation) -> str:
    text = (
        "<p>How often the model is right when it says that it is this sure. Bars below the dashed line: it "
        "is surer than it should be.</p>"
    )
    return _section("Calibration", text + charts.reliability_diagram(evaluation.calibration))


def _mistakes(evaluation: Evaluation, dataset: Dataset, count: int) -> str:
    found = confident_mistakes(evaluation.scores, count)
    images = pictures(found, dataset, evaluation.scores.split)
    figures = "".join(
        f'<figure><img src="{_data_uri(image)}" alt="image {mistake.index}" width="{image.width}" '
        f'height="{image.height}"><figcaption>is <b>{escape(mistake.label)}</b><br>'
        f"taken for {escape(mistake.predicted)}, {mistake.confidence:.1%}</figcaption></figure>"
        for mistake, image in zip(found, images, strict=True)
    )
    return _section(
        "Most confident mistakes", f'<div class="pictures">{figures}</div>' if found else "<p>None.</p>"
    )


def _data_uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG" if len(image.getcolors(4096) or ()) else "JPEG", quality=85)
    kind = "png" if buffer.getvalue().startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _skipped(evaluation: Evaluation) -> str:
    names = evaluation.scores.skipped
    if not names:
        return ""
    items = "".join(f"<li>{escape(name)}</li>" for name in names[:200])
    return _section("Unreadable files", f"<ul>{items}</ul>")


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>"


_STYLE = """
:root{color-scheme:light dark;--page:#fbfbfa;--card:#fff;--ink:#1d2126;--quiet:#5f6873;--line:#dfe2e6;
--blue:#2f6fb5;--red:196 62 42;--green:38 128 80}
@media (prefers-color-scheme:dark){:root{--page:#14171a;--card:#1d2125;--ink:#e8eaed;--quiet:#9aa3ad;
--line:#343a41;--blue:#6aa8e8;--red:240 120 96;--green:92 190 136}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:60rem;margin:0 auto;padding:1rem}
h1{font-size:1.5rem;overflow-wrap:anywhere;margin:.5rem 0 1rem}h2{font-size:1.15rem;margin:2rem 0 .5rem}
p{margin:.2rem 0}.quiet{color:var(--quiet)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(11rem,1fr));gap:.75rem}
.tile{background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:.75rem}
.tile strong{font-size:1.6rem;font-variant-numeric:tabular-nums}.tile .quiet{font-size:.8rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1rem}dt{color:var(--quiet)}
dd{margin:0;overflow-wrap:anywhere}
table{border-collapse:collapse;font-size:.875rem}th,td{padding:.15rem .5rem;text-align:left;font-weight:400}
thead th{color:var(--quiet)}.number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.wide{overflow-x:auto}.bars{width:100%}.bars th[scope=row]{max-width:12rem;overflow-wrap:anywhere}
.track{width:55%}.track div{height:.8rem;background:var(--blue);border-radius:.15rem;min-width:1px}
.confusion td{min-width:2.6rem;text-align:center;border:1px solid var(--line)}
.confusion .corner{border:0;color:var(--quiet);text-align:left;white-space:nowrap}
.confusion .right{background:rgb(var(--green)/calc(var(--share)*.75))}
.confusion .wrong{background:rgb(var(--red)/min(calc(var(--share)*4),.85))}
.chart{width:100%;max-width:26rem;display:block;font-size:11px}.chart text{fill:var(--quiet)}
.chart .bar{fill:var(--blue)}.chart .count{fill:var(--quiet)}.chart .grid{stroke:var(--line)}
.chart .gap{stroke:rgb(var(--red));stroke-width:3}.chart .ideal{stroke:var(--ink);stroke-dasharray:5 4}
.pictures{display:grid;grid-template-columns:repeat(auto-fill,minmax(9rem,1fr));gap:.75rem}
figure{margin:0;font-size:.8rem;overflow-wrap:anywhere}
img{max-width:100%;height:auto;image-rendering:auto;border-radius:.25rem}
details{margin-top:.5rem}summary{cursor:pointer;color:var(--quiet)}
@media print{section{break-inside:avoid}}
"""
