"""The report's pictures as SVG: they follow the page's colours, in light and in dark, at every width."""

from __future__ import annotations

from html import escape

import numpy as np

from keras_resnet.evaluation.metrics import Calibration, Floats, Integers

SIDE = 300  # of the square plot inside the reliability diagram
LEFT, BELOW, HISTOGRAM = 46, 40, 60


def reliability_diagram(calibration: Calibration) -> str:
    """Accuracy over confidence, a bar a bin, and how many images each bin has; the diagonal is perfect."""
    bins = len(calibration.images)
    width = SIDE / bins
    most = max(1, int(calibration.images.max()))
    base = SIDE + 8
    bars, counts = [], []
    for number in range(bins):
        images = int(calibration.images[number])
        if not images:
            continue
        x = LEFT + number * width
        accuracy, confidence = float(calibration.accuracy[number]), float(calibration.confidence[number])
        y, target = base - SIDE * accuracy, base - SIDE * confidence
        tip = f"{images} images: confidence {confidence:.1%}, accuracy {accuracy:.1%}"
        bars.append(
            f'<g><title>{tip}</title><rect class="bar" x="{x + 1:.1f}" y="{y:.1f}" width="{width - 2:.1f}" '
            f'height="{SIDE * accuracy:.1f}"/><line class="gap" x1="{x + width / 2:.1f}" '
            f'x2="{x + width / 2:.1f}" y1="{y:.1f}" y2="{target:.1f}"/></g>'
        )
        tall = (HISTOGRAM - 12) * images / most
        counts.append(
            f'<rect class="count" x="{x + 1:.1f}" y="{base + BELOW + HISTOGRAM - tall:.1f}" '
            f'width="{width - 2:.1f}" height="{tall:.1f}"><title>{tip}</title></rect>'
        )
    ticks = "".join(
        f'<text x="{LEFT + SIDE * v}" y="{base + 16}" text-anchor="middle">{v:.0%}</text>'
        f'<text x="{LEFT - 6}" y="{base - SIDE * v + 4}" text-anchor="end">{v:.0%}</text>'
        f'<line class="grid" x1="{LEFT}" x2="{LEFT + SIDE}" y1="{base - SIDE * v}" y2="{base - SIDE * v}"/>'
        for v in (0, 0.25, 0.5, 0.75, 1)
    )
    total = base + BELOW + HISTOGRAM + 20
    return (
        f'<svg viewBox="0 0 {LEFT + SIDE + 24} {total}" role="img" class="chart" xmlns="http://www.w3.org/2000/svg">'
        f"<title>Accuracy by confidence; expected calibration error {calibration.ece:.2%}</title>{ticks}"
        f'{"".join(bars)}<line class="ideal" x1="{LEFT}" y1="{base}" x2="{LEFT + SIDE}" y2="{base - SIDE}"/>'
        f'<text x="{LEFT + SIDE / 2}" y="{base + 32}" text-anchor="middle">confidence</text>'
        f'<text x="12" y="{base - SIDE / 2}" text-anchor="middle" '
        f'transform="rotate(-90 12 {base - SIDE / 2})">accuracy</text>{"".join(counts)}'
        f'<text x="{LEFT + SIDE / 2}" y="{total - 4}" text-anchor="middle">images</text></svg>'
    )


def confusion_table(confusion: Integers, names: tuple[str, ...]) -> str:
    """The confusion matrix as a table, each row shaded by its class's share of images."""
    share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    head = "".join(f'<th scope="col"><span>{escape(name)}</span></th>' for name in names)
    rows = []
    for row, name in enumerate(names):
        cells = "".join(
            f'<td class="{"right" if row == column else "wrong"}" style="--share:{share[row, column]:.3f}" '
            f'title="{escape(name)} taken for {escape(names[column])}">{confusion[row, column] or ""}</td>'
            for column in range(len(names))
        )
        rows.append(f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>')
    return (
        '<div class="wide"><table class="confusion"><thead><tr><td class="corner">is ↓ taken for →</td>'
        f"{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def error_bars(errors: Floats, images: Integers, names: tuple[str, ...], rows: Integers) -> str:
    """Per-class errors (percent) of `rows` as a list of bars."""
    worst = max(1e-9, float(np.nanmax(errors)) if len(errors) else 0.0)
    lines = "".join(
        f'<tr><th scope="row">{escape(names[row])}</th><td class="number">{errors[row]:.1f} %</td>'
        f'<td class="number quiet">{images[row]}</td>'
        f'<td class="track"><div style="width:{100 * errors[row] / worst:.1f}%"></div></td></tr>'
        for row in rows
    )
    return (
        '<table class="bars"><thead><tr><th scope="col">class</th><th scope="col" class="number">error</th>'
        f'<th scope="col" class="number">images</th><th></th></tr></thead><tbody>{lines}</tbody></table>'
    )
