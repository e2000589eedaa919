"""What the steps of the running epoch add up to; in every checkpoint, so that a resumed epoch is whole."""

from __future__ import annotations

from dataclasses import dataclass

from keras_resnet.training.engine import Steps


@dataclass
class EpochSums:
    """Sums over the steps of an epoch so far.

    Attributes:
        loss: of the steps' mean losses.
        wrong: images that were classified wrongly.
        images: all of them.
        steps: how many there were.
        seconds: that they took.
        waiting: seconds of those spent waiting for data.
    """

    loss: float = 0.0
    wrong: int = 0
    images: int = 0
    steps: int = 0
    seconds: float = 0.0
    waiting: float = 0.0

    def add(self, done: Steps, batch_size: int) -> None:
        """Add what a call of the engine did."""
        for loss in done.losses:  # one by one: sums then do not depend on how many steps a call had
            self.loss += float(loss)
        self.wrong += int(done.wrong.sum())
        self.images += len(done.losses) * batch_size
        self.steps += len(done.losses)
        self.seconds += done.seconds
        self.waiting += done.waiting

    @property
    def mean_loss(self) -> float:
        """Mean loss of a step."""
        return self.loss / self.steps

    @property
    def error(self) -> float:
        """Training error in percent, of the images as training saw them."""
        return 100.0 * self.wrong / self.images
