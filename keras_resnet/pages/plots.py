"""matplotlib, imported only where something is drawn, and its figures as SVG for pages and PNG for files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from keras_resnet.errors import UserError, writing

# A colour that nothing else uses: pages replace it by their text colour, which may be light or dark.
INK = "#010203"
# Okabe and Ito's colours, told apart by colour-blind readers and visible on white and on black.
COLORS = ("#e69f00", "#0072b2", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#8c8c8c")


def require() -> None:
    """Before anything that takes long and ends in a plot.

    Raises:
        UserError: matplotlib is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise UserError("plots need matplotlib: pip install 'keras-resnet[plots]'") from None


def new_figure(width: float = 8.0, height: float = 4.0, ink: str = INK, **subplots: Any) -> Any:
    """(figure, axes) of that size in inches, transparent, with frame and text in `ink`.

    Raises:
        UserError: matplotlib is not installed.
    """
    require()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.patch.set_alpha(0.0)
    axes = figure.subplots(**subplots)
    for ax in figure.axes:
        ax.patch.set_alpha(0.0)
        ax.tick_params(colors=ink, labelsize=9)
        ax.grid(True, color=ink, alpha=0.12, linewidth=0.8)
        for name, spine in ax.spines.items():
            spine.set_visible(name in ("left", "bottom"))
            spine.set_color(ink)
        for text in (ax.title, ax.xaxis.label, ax.yaxis.label):
            text.set_color(ink)
            text.set_fontsize(10)
    return figure, axes


def legend(ax: Any, ink: str = INK, **kwargs: Any) -> None:
    """A legend without a frame, in `ink`."""
    ax.legend(frameon=False, fontsize=9, labelcolor=ink, **kwargs)


def plain(text: str) -> str:
    """`text` for matplotlib to show as it is: `a$b_c$` would be a formula, and one with an error."""
    return text.replace("$", r"\$")


def to_svg(figure: Any) -> str:
    """The figure as an SVG element that can stand inside an HTML page."""
    import matplotlib

    text = io.StringIO()
    # Text stays text: smaller, selectable, and in the page's own font. A fixed salt: same data, same file.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "keras-resnet"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :].replace("'DejaVu Sans'", "system-ui")


def save_png(figure: Any, path: str | Path) -> Path:
    """Write the figure on white, 110 dots per inch.

    Raises:
        UserError: the file cannot be written.
    """
    with writing(path):
        figure.savefig(path, format="png", dpi=110, facecolor="white")
    return Path(path)
