"""The degradation problem (Fig. 1, 4, 6) in one sentence: who trains worse when deeper, and by how much."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from operator import eq
from statistics import fmean

from keras_resnet.data.sources import same_data
from keras_resnet.errors import UserError
from keras_resnet.paper.folders import RunFolder

# Percentage points of training error below which two networks train equally well.
MARGIN = 0.5


@dataclass(frozen=True)
class Comparison:
    """The shallowest and the deepest network of a kind at the end of training.

    Errors in percent, means over the seeds that both have; `train` on the augmented training images of
    the last epoch, `val` on the split that `held_out` names.
    """

    shallow: str
    deep: str
    shallow_train: float
    deep_train: float
    shallow_val: float
    deep_val: float
    seeds: int
    held_out: str = "validation"

    @property
    def train_gap(self) -> float:
        """How much worse the deeper one trains, percentage points; negative: better."""
        return self.deep_train - self.shallow_train

    @property
    def val_gap(self) -> float:
        """The same of the error on `held_out`."""
        return self.deep_val - self.shallow_val

    @property
    def degrades(self) -> bool:
        """Whether the deeper network trains worse."""
        return self.train_gap > MARGIN

    def sentence(self) -> str:
        """What happened, for a reader who has not seen the curves."""
        if self.degrades:
            verdict = f"{self.deep} trains worse than {self.shallow}"
        elif self.train_gap < -MARGIN:
            verdict = f"{self.deep} trains better than {self.shallow}"
        else:
            verdict = f"{self.deep} trains as well as {self.shallow}"
        means = f", means of {self.seeds} seeds" if self.seeds > 1 else ""
        return (
            f"{verdict}{means}: training error {self.deep_train:.1f} % against {self.shallow_train:.1f} % "
            f"({self.train_gap:+.1f} points), {self.held_out} error {self.deep_val:.1f} % against "
            f"{self.shallow_val:.1f} % ({self.val_gap:+.1f} points)"
        )


def compare(runs: Sequence[RunFolder]) -> dict[str, Comparison]:
    """Compare shallowest and deepest among the finished runs, by kind: "plain", "residual".

    Kinds with networks of one depth only are left out. Shortcut options are never mixed: residual networks
    are those of the first option (A, B, C) of which there are two depths.

    Raises:
        UserError: runs of one kind were trained under different conditions.
    """
    options: dict[str, dict[int, list[RunFolder]]] = defaultdict(lambda: defaultdict(list))
    finished = [run for run in runs if run.finished]
    _require_equal_conditions(finished)
    for run in finished:
        options[run.net.shortcut or "plain"][run.net.architecture.depth].append(run)
    found: dict[str, Comparison] = {}
    for option in ("plain", "A", "B", "C"):
        if len(options[option]) > 1:
            found.setdefault("plain" if option == "plain" else "residual", _comparison(options[option]))
    return found


def summary(comparisons: dict[str, Comparison]) -> str:
    """One or two sentences on plain networks and residual ones."""
    sentences = [comparison.sentence() for comparison in comparisons.values()]
    if not sentences:
        return "Nothing to compare yet: it takes finished runs of two depths."
    plain, residual = comparisons.get("plain"), comparisons.get("residual")
    if plain and residual and plain.degrades and not residual.degrades:
        return f"Without shortcuts {sentences[0]}. With shortcuts {sentences[1]}."
    return ". ".join(sentences) + "."


def _comparison(depths: dict[int, list[RunFolder]]) -> Comparison:
    shallow, deep = depths[min(depths)], depths[max(depths)]
    common = {run.net.seed for run in shallow} & {run.net.seed for run in deep}
    if common:  # a budget may end after some of the seeds; means over different ones compare seeds
        shallow = [run for run in shallow if run.net.seed in common]
        deep = [run for run in deep if run.net.seed in common]
    return Comparison(
        shallow[0].net.label,
        deep[0].net.label,
        fmean(run.final_training_error for run in shallow),
        fmean(run.final_training_error for run in deep),
        fmean(run.final_validation_error for run in shallow),
        fmean(run.final_validation_error for run in deep),
        min(len(shallow), len(deep)),
        deep[0].held_out,
    )


def _require_equal_conditions(runs: Sequence[RunFolder]) -> None:
    """Degradation is a statement about equal conditions; anything else would be no comparison."""
    for run in runs[1:]:
        first = runs[0]
        there, here = first.settings, run.settings
        for name in ("dataset", "split", "val_split", "image_size", "hold_out", "precision", "recipe"):
            same = same_data if name == "dataset" else eq
            if not same(there[name], here[name]):
                raise UserError(
                    f"{first.path} and {run.path} cannot be compared: they differ in {name}; train both "
                    "under equal conditions"
                )
