"""Table 1 and Figure 3 from the networks' own descriptions: nothing here is typed in twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from keras_resnet.architectures import ARCHITECTURES, Architecture, Conv, Stage, get_architecture
from keras_resnet.pages.blocks import Table
from keras_resnet.pages.plots import COLORS, INK

FIGURE3 = ("vgg19", "plain34", "resnet34")
TABLE1 = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")

_WIDTH, _HEIGHT, _GAP = 132, 15, 4  # of a box and between boxes, in SVG units
_COLUMN, _LEFT, _TOP = 200, 84, 66


def table1() -> Table:
    """The paper's Table 1: building blocks by stage, and multiply-adds computed and printed."""
    nets = [ARCHITECTURES[name] for name in TABLE1]
    header = ["layer", "output", *(f"{net.depth}-layer" for net in nets)]
    rows: list[list[str]] = [["conv1", "112×112", *["7×7, 64, stride 2"] * len(nets)]]
    rows.append(["pool", "56×56", *["3×3 max, stride 2"] * len(nets)])
    for i, stage in enumerate(nets[0].stages):
        size = next(conv.size for conv in nets[0].convs() if conv.name.startswith(f"{stage.name}_"))
        rows.append([f"{stage.name}_x", f"{size}×{size}", *(_blocks(net, net.stages[i]) for net in nets)])
    rows.append(["head", "1×1", *["average pool, 1000-d fc, softmax"] * len(nets)])
    rows.append(["parameters", "", *(f"{net.parameters():,}" for net in nets)])
    rows.append(["multiply-adds", "", *(f"{net.multiply_adds() / 1e9:.2f}×10⁹" for net in nets)])
    rows.append(["in the paper", "", *(f"{(net.paper_multiply_adds or 0) / 1e9:.1f}×10⁹" for net in nets)])
    return Table(header, rows, "Table 1, computed. Each convolution is followed by batch normalisation.")


def network_table(names: Sequence[str]) -> Table:
    """These networks with parameters and multiply-adds, the paper's beside them where it gives any."""
    rows = []
    for net in map(get_architecture, names):
        paper = f"{net.paper_multiply_adds / 1e9:.1f}" if net.paper_multiply_adds else ""
        millions = f"{net.multiply_adds() / 1e6:,.0f}"
        rows.append([net.name, str(net.depth), net.shortcut or "", f"{net.parameters():,}", millions, paper])
    header = ("network", "layers", "shortcut", "parameters", "multiply-adds (10⁶)", "in the paper (10⁹)")
    return Table(header, rows)


def _blocks(net: Architecture, stage: Stage) -> str:
    """[3×3, 64; 3×3, 64] × 2"""
    convs = net.block_convs(stage.filters, stage.filters * net.expansion, 1)
    inside = "; ".join(f"{conv.kernel}×{conv.kernel}, {conv.outputs}" for conv in convs)
    return f"[{inside}] × {stage.blocks}"


@dataclass(frozen=True)
class _Box:
    """One layer as drawn; `block` names the residual block it belongs to, `size` its output's side."""

    text: str
    size: int
    color: str
    block: str | None = None


def draw(names: Sequence[str]) -> str:
    """Networks side by side as SVG, layer by layer, maps of one size on one height (Figure 3).

    Shortcuts are arcs: solid for identities, dashed where the dimensions increase.

    Raises:
        UsageError: there is no such network.
    """
    nets = [get_architecture(name) for name in names]
    columns = [_boxes(net) for net in nets]
    sizes = sorted({box.size for column in columns for box in column}, reverse=True)
    step = _HEIGHT + _GAP
    tops, y = {}, _TOP
    for size in sizes:
        tops[size] = y
        y += step * max(sum(box.size == size for box in column) for column in columns) + 10
    width = _LEFT + _COLUMN * len(nets)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y}" '
        f'font-family="system-ui, sans-serif" font-size="9" fill="{INK}">'
    ]
    for size in sizes:
        label = f"{size}×{size}" if size > 1 else "1×1"
        parts.append(f'<text x="6" y="{tops[size] + 11}">output {label}</text>')
        parts.append(
            f'<line x1="0" x2="{width}" y1="{tops[size] - 6}" y2="{tops[size] - 6}" stroke="{INK}" '
            'stroke-opacity="0.15"/>'
        )
    for i, (net, column) in enumerate(zip(nets, columns, strict=True)):
        parts += _column(net, column, _LEFT + i * _COLUMN, tops)
    return "".join(parts) + "</svg>"


def standalone(svg: str) -> str:
    """The drawing as a file of its own, on white."""
    return svg.replace(INK, "#1b1f24").replace(">", '><rect width="100%" height="100%" fill="white"/>', 1)


def _boxes(net: Architecture) -> list[_Box]:
    stages = [stage.name for stage in net.stages]
    boxes: list[_Box] = []
    convs = [conv for conv in net.convs() if "_shortcut_" not in conv.name]
    for previous, conv in zip([None, *convs], convs, strict=False):
        stage = conv.name.split("_")[0]
        color = COLORS[stages.index(stage) % 5] if stage in stages else COLORS[6]
        pool = _pool_before(net, previous, conv)
        if pool:
            boxes.append(_Box(pool, _pooled(net, conv), COLORS[6]))
        block = "_".join(conv.name.split("_")[:2]) if "_block" in conv.name and net.shortcut else None
        boxes.append(_Box(_text(conv), conv.size, color, block))
    return boxes


def _pool_before(net: Architecture, previous: Conv | None, conv: Conv) -> str | None:
    if previous is None:
        return None
    if net.block == "vgg":
        first_fc = conv.name == "fc1"
        return "max pool, /2" if first_fc or (conv.size != previous.size and conv.size > 1) else None
    if conv.name == "predictions":
        return "average pool"
    return "max pool, /2" if net.family == "imagenet" and previous.name == "conv1_conv" else None


def _pooled(net: Architecture, conv: Conv) -> int:
    """Side of the map that the pooling before `conv` puts out."""
    return net.default_image_size // 32 if conv.name == "fc1" else conv.size


def _text(conv: Conv) -> str:
    if conv.size == 1 and conv.kernel == 1 and conv.biased:
        return f"fc, {conv.outputs}"
    stride = f", /{conv.stride}" if conv.stride > 1 else ""
    return f"{conv.kernel}×{conv.kernel} conv, {conv.outputs}{stride}"


def _column(net: Architecture, boxes: Sequence[_Box], x: int, tops: dict[int, int]) -> list[str]:
    parts = [
        f'<text x="{x}" y="18" font-size="13" font-weight="600">{net.name}</text>',
        f'<text x="{x}" y="33">{net.parameters() / 1e6:,.1f} M parameters</text>',
        f'<text x="{x}" y="46">{net.multiply_adds() / 1e9:.2f}×10⁹ multiply-adds</text>',
    ]
    placed: dict[int, int] = {}
    spans: dict[str, list[float]] = {}
    middle = x + _WIDTH / 2
    previous_bottom: float | None = None
    for box in boxes:
        y = tops[box.size] + placed.get(box.size, 0) * (_HEIGHT + _GAP)
        placed[box.size] = placed.get(box.size, 0) + 1
        if previous_bottom is not None:
            parts.append(
                f'<line x1="{middle}" x2="{middle}" y1="{previous_bottom}" y2="{y}" stroke="{INK}" '
                'stroke-opacity="0.6"/>'
            )
        if box.block:
            # From the line that enters the block to the line that leaves it.
            spans.setdefault(box.block, [(previous_bottom or y) + _GAP / 2])[1:] = [y + _HEIGHT + _GAP / 2]
        parts.append(
            f'<rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="3" fill="{box.color}" '
            f'fill-opacity="0.28" stroke="{box.color}"/>'
            f'<text x="{middle}" y="{y + 11}" text-anchor="middle">{box.text}</text>'
        )
        previous_bottom = y + _HEIGHT
    inputs = {conv.name.rsplit("_", 1)[0]: conv for conv in net.convs() if conv.name.endswith("_conv1")}
    for block, (start, end) in spans.items():
        conv = inputs[block]
        outputs = conv.outputs * net.expansion
        dashed = ' stroke-dasharray="3 2"' if conv.stride > 1 or conv.inputs != outputs else ""
        right, out = x + _WIDTH, x + _WIDTH + 26
        arc = f"M{middle} {start} H{right} C{out} {start} {out} {end} {right} {end} H{middle}"
        parts.append(f'<path d="{arc}" fill="none" stroke="{INK}" stroke-opacity="0.8"{dashed}/>')
    return parts
