"""The report's own drawing as SVG, written by hand: a report of an evaluation does not need matplotlib."""

from __future__ import annotations

from keras_resnet.evaluation.metrics import Calibration
from keras_resnet.pages.plots import COLORS, INK

_BAR, _GAP = COLORS[1], COLORS[3]
SIDE = 300  # of the square plot inside the reliability diagram
LEFT, BELOW, HISTOGRAM = 46, 40, 60


def reliability_diagram(calibration: Calibration) -> str:
    """Accuracy over confidence, one bar per bin, and the images in each bin; the diagonal is perfect."""
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
            f'<g><title>{tip}</title><rect class="bar" fill="{_BAR}" x="{x + 1:.1f}" y="{y:.1f}" '
            f'width="{width - 2:.1f}" height="{SIDE * accuracy:.1f}"/><line stroke="{_GAP}" stroke-width="3" '
            f'x1="{x + width / 2:.1f}" x2="{x + width / 2:.1f}" y1="{y:.1f}" y2="{target:.1f}"/></g>'
        )
        tall = (HISTOGRAM - 12) * images / most
        counts.append(
            f'<rect fill="{INK}" fill-opacity="0.5" x="{x + 1:.1f}" '
            f'y="{base + BELOW + HISTOGRAM - tall:.1f}" width="{width - 2:.1f}" height="{tall:.1f}">'
            f"<title>{tip}</title></rect>"
        )
    ticks = "".join(
        f'<text x="{LEFT + SIDE * v}" y="{base + 16}" text-anchor="middle">{v:.0%}</text>'
        f'<text x="{LEFT - 6}" y="{base - SIDE * v + 4}" text-anchor="end">{v:.0%}</text>'
        f'<line stroke="{INK}" stroke-opacity="0.15" x1="{LEFT}" x2="{LEFT + SIDE}" '
        f'y1="{base - SIDE * v}" y2="{base - SIDE * v}"/>'
        for v in (0, 0.25, 0.5, 0.75, 1)
    )
    total = base + BELOW + HISTOGRAM + 20
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + SIDE + 24} {total}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="11" fill="{INK}" style="max-width:26rem">'
        f"<title>Accuracy by confidence; expected calibration error {calibration.ece:.2%}</title>{ticks}"
        f'{"".join(bars)}<line stroke="{INK}" stroke-dasharray="5 4" x1="{LEFT}" y1="{base}" '
        f'x2="{LEFT + SIDE}" y2="{base - SIDE}"/>'
        f'<text x="{LEFT + SIDE / 2}" y="{base + 32}" text-anchor="middle">confidence</text>'
        f'<text x="12" y="{base - SIDE / 2}" text-anchor="middle" '
        f'transform="rotate(-90 12 {base - SIDE / 2})">accuracy</text>{"".join(counts)}'
        f'<text x="{LEFT + SIDE / 2}" y="{total - 4}" text-anchor="middle">images</text></svg>'
    )
