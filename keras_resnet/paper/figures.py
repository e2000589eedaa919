"""The paper's figures from run folders, with matplotlib (the extra `plots`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras_resnet.pages.plots import COLORS, INK, legend, new_figure, plain
from keras_resnet.paper.folders import RunFolder

_PANELS = {"plain": "plain networks", "residual": "residual networks"}


def curves(runs: Sequence[RunFolder], ink: str = INK) -> Any:
    """Training and validation error by step in the style of Fig. 1, 4 and 6.

    Dashed: training error (over each epoch, on augmented images). Bold: validation error. Dotted vertical
    lines: divisions of the learning rate by 10. One panel for plain networks and one for residual ones.

    Raises:
        UserError: matplotlib is not installed.
    """
    groups = by_kind(runs)
    width = 4.6 * len(groups) if len(groups) > 1 else 6.0
    figure, axes = new_figure(width, 3.8, ink, ncols=len(groups), sharey=True, squeeze=False)
    for ax, (kind, group) in zip(axes[0], groups.items(), strict=True):
        _panel(ax, group, ink)
        ax.set_title(_PANELS[kind] if len(groups) > 1 else "", color=ink, fontsize=10, pad=14)
    axes[0][0].set_ylabel("error (%)", color=ink, fontsize=10)
    axes[0][0].set_ylim(bottom=0)
    return figure


def panels(runs: Sequence[RunFolder], ink: str = INK) -> list[Any]:
    """The panels of `curves` as figures of their own with one scale, for pages of any width.

    Raises:
        UserError: matplotlib is not installed.
    """
    groups = by_kind(runs)
    top = 1.05 * max(max(run.column("train_error") + run.column("val_error")) for run in runs)
    figures = []
    for kind, group in groups.items():
        figure, ax = new_figure(5.0 if len(groups) > 1 else 7.0, 3.6, ink)
        _panel(ax, group, ink)
        ax.set_title(_PANELS[kind], color=ink, fontsize=10, pad=14)
        ax.set_ylabel("error (%)", color=ink, fontsize=10)
        ax.set_ylim(0, top)
        figures.append(figure)
    return figures


def by_kind(runs: Sequence[RunFolder]) -> dict[str, list[RunFolder]]:
    """The runs as "plain" and "residual", kinds without runs left out."""
    groups: dict[str, list[RunFolder]] = {"plain": [], "residual": []}
    for run in runs:
        groups["plain" if run.net.shortcut is None else "residual"].append(run)
    return {kind: group for kind, group in groups.items() if group}


def _panel(ax: Any, runs: Sequence[RunFolder], ink: str) -> None:
    for step in sorted({step for run in runs for step in run.drops()}):
        ax.axvline(step, color=ink, alpha=0.45, linestyle=":", linewidth=1)
        # Above the frame, where no curve and no legend can be.
        place = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "xytext": (0, 3)}
        ax.annotate("rate ÷ 10", (step, 1.0), ha="center", fontsize=7.5, color=ink, **place)
    ordered = sorted(runs, key=lambda run: (run.net.architecture.depth, run.net.label, run.net.seed))
    labels = [run.net.label for run in ordered]
    colors = {label: COLORS[i % len(COLORS)] for i, label in enumerate(dict.fromkeys(labels))}
    for i, run in enumerate(ordered):
        label, color, steps = labels[i], colors[labels[i]], run.column("step")
        seeds = labels.count(label)
        name = None if label in labels[:i] else f"{label} ({seeds} seeds)" if seeds > 1 else label
        faint = 1.0 if seeds == 1 else 0.8
        dot = "o" if len(steps) == 1 else ""  # a line through one epoch would not be seen
        ax.plot(steps, run.column("train_error"), f"{dot}--", color=color, linewidth=1.2, alpha=faint)
        ax.plot(steps, run.column("val_error"), f"{dot}-", color=color, linewidth=2, alpha=faint, label=name)
    ax.set_xlabel("step", color=ink, fontsize=10)
    ax.plot([], [], color=ink, linewidth=2, label=runs[0].held_out)
    ax.plot([], [], color=ink, linewidth=1.2, linestyle="--", label="training")
    legend(ax, ink)


def responses(found: Sequence[tuple[str, Sequence[float]]], ink: str = INK) -> Any:
    """Figure 7 from (label, standard deviation of each 3×3 layer in order).

    Top: in the order of the layers; bottom: sorted by size.

    Raises:
        UserError: matplotlib is not installed.
    """
    figure, (top, bottom) = new_figure(7.5, 5.2, ink, nrows=2)
    _responses(top, found, ink)
    _responses(bottom, found, ink, ordered=False)
    return figure


def response_panels(found: Sequence[tuple[str, Sequence[float]]], ink: str = INK) -> list[Any]:
    """The two panels of `responses` as figures of their own.

    Raises:
        UserError: matplotlib is not installed.
    """
    figures = []
    for ordered in (True, False):
        figure, ax = new_figure(5.0, 3.2, ink)
        _responses(ax, found, ink, ordered)
        figures.append(figure)
    return figures


def _responses(ax: Any, found: Sequence[tuple[str, Sequence[float]]], ink: str, ordered: bool = True) -> None:
    for i, (label, stds) in enumerate(found):
        shown = stds if ordered else sorted(stds, reverse=True)
        style = "--" if label.startswith("plain") else "-"
        color = COLORS[i % len(COLORS)]
        ax.plot(range(1, len(stds) + 1), shown, style, color=color, linewidth=1.5, label=plain(label))
    what = "in order" if ordered else "sorted by response"
    ax.set_xlabel(f"3×3 layer, {what}", color=ink, fontsize=10)
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set_ylabel("standard deviation", color=ink, fontsize=10)
    ax.set_ylim(0, 1.05 * max(max(stds) for _, stds in found))
    if ordered:
        legend(ax, ink)


def depth_errors(points: Sequence[tuple[str, int, float, float | None, float | None]], ink: str = INK) -> Any:
    """Error by depth: (kind, depth, mean, standard deviation or None, the paper's error or None) each.

    Raises:
        UserError: matplotlib is not installed.
    """
    figure, ax = new_figure(6.0, 3.6, ink)
    for i, kind in enumerate(dict.fromkeys(point[0] for point in points)):
        mine = sorted(point[1:] for point in points if point[0] == kind)
        depths, means = [p[0] for p in mine], [p[1] for p in mine]
        spread = [p[2] or 0.0 for p in mine]
        color = COLORS[i % len(COLORS)]
        ax.errorbar(depths, means, yerr=spread, color=color, marker="o", capsize=3, label=f"{kind}, measured")
        printed = [(p[0], p[3]) for p in mine if p[3] is not None]
        if printed:
            ax.plot(
                *zip(*printed, strict=True), color=color, marker="x", linestyle=":", label=f"{kind}, paper"
            )
    ax.set_xlabel("layers", color=ink, fontsize=10)
    ax.set_ylabel("error (%)", color=ink, fontsize=10)
    legend(ax, ink)
    return figure
