"""The loop over steps and epochs: rates in, history and checkpoints out, and stopping when asked to."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import tensorflow as tf

from keras_resnet.data.skips import SkipLog
from keras_resnet.errors import UserError
from keras_resnet.training.checkpoints import Checkpoint, latest_checkpoint, save_checkpoint
from keras_resnet.training.devices import peak_memory, workers_of
from keras_resnet.training.engine import Engine
from keras_resnet.training.interrupts import Interrupted, StopRequest, stop_requests
from keras_resnet.training.progress import History, Reporter, TensorBoard
from keras_resnet.training.record import SKIPPED, skipped_images
from keras_resnet.training.schedules import Schedule
from keras_resnet.training.sums import EpochSums
from keras_resnet.training.validation import validation_error

STEPS_PER_CALL_TOGETHER = 10  # with several workers, who must all stop after the same step
SECONDS_PER_CALL = 1.0  # how long the compiled loop runs before Python looks at signals and the clock
MOST_STEPS_PER_CALL = 100
PROFILED_STEPS = 10
WINDOW = 50  # steps whose training error the slow start looks at; fixed, so that resuming changes nothing


@dataclass(frozen=True)
class Habits:
    """How often to save, what else to write, when to give up; none of it changes the weights.

    Attributes:
        checkpoint_minutes: save whenever that many minutes have passed.
        checkpoint_steps: steps between further checkpoints; None: by minutes and at the ends of epochs only.
        keep: how many of the last checkpoints stay, besides the best epoch's.
        skip_limit: the largest accepted share of unreadable images, of each split, 0…1.
        tensorboard: write curves to the run folder's `tensorboard/`.
        profile: write a trace of ten steps to its `profile/`.
    """

    checkpoint_minutes: float = 5.0
    checkpoint_steps: int | None = None
    keep: int = 2
    skip_limit: float = 0.05
    tensorboard: bool = False
    profile: bool = False


class EpochLoop:
    """Runs an engine from its step to the last one. All its state goes into every checkpoint."""

    def __init__(
        self,
        engine: Engine,
        schedule: Schedule,
        workdir: Path,
        habits: Habits,
        reporter: Reporter,
        skips: SkipLog,
        steps_per_epoch: int,
        total_steps: int,
    ):
        worker, self.workers = workers_of(engine.strategy)
        self.chief = worker == 0  # the one that writes
        self.engine, self.schedule, self.workdir = engine, schedule, workdir
        self.habits, self.reporter, self.skips = habits, reporter, skips
        self.steps_per_epoch, self.total_steps = steps_per_epoch, total_steps
        self.step = 0
        self.best = float("inf")
        self.last: dict[str, Any] = {}
        self._sums = EpochSums()
        self._window = {"wrong": 0, "images": 0}
        self._saved_at = time.monotonic()
        self._seconds_per_step: float | None = None

    def restore(self, checkpoint: Checkpoint) -> None:
        """Resume from a checkpoint (the engine is restored on its own)."""
        self.step = checkpoint.step
        state = checkpoint.state
        self.schedule.state.update(state["schedule"])
        self._sums = EpochSums(**state["sums"])
        self._window.update(state["window"])
        self.best = float("inf") if state["best"] is None else state["best"]
        self.last = dict(state["last"])

    def run(self, iterator: Iterator[Any], validation: Callable[[], Iterable[Any]]) -> None:
        """Train to the last step; validate, log and save at the end of each epoch.

        Raises:
            Interrupted: after a signal, with everything saved.
            UserError: the loss is not finite any more, the disk is full, or too many images are unreadable.
        """
        history = History(self.workdir, self.step)
        board = TensorBoard(self.workdir) if self.habits.tensorboard and self.chief else None
        with stop_requests() as request:

            def end_epoch() -> None:
                if self._sums.steps and (
                    self.step % self.steps_per_epoch == 0 or self.step == self.total_steps
                ):
                    self._end_epoch(history, board, self._validate(validation, request))

            def advance() -> None:
                self._take_steps(iterator)
                self.skips.check()
                end_epoch()
                if self._sums.steps and self._save_due():
                    self.save()
                signal_number = self._agreed(request.signal_number)
                if signal_number and self.step < self.total_steps:
                    self._stop(signal_number)

            end_epoch()  # of a run that was stopped while it validated
            if self.habits.profile and self.chief and self.step < self.total_steps:
                advance()  # tracing and the first step are not what one wants to see
                self._profile(advance, min(self.step + PROFILED_STEPS, self.total_steps))
            while self.step < self.total_steps:
                advance()

    def save(self, best: bool = False) -> None:
        """Write a checkpoint of this moment.

        Raises:
            UserError: it cannot be written, or the weights are not finite (earlier checkpoints stay).
        """
        self._saved_at = time.monotonic()
        if not self.chief:
            return
        arrays = self.engine.arrays()
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise self._diverged(self.step)
        state = {
            "schedule": self.schedule.state,
            "sums": asdict(self._sums),
            "window": self._window,
            "best": None if self.best == float("inf") else self.best,
            "last": self.last,
        }
        checkpoint = Checkpoint(self.step, arrays, state)
        with suppress(OSError):  # of a full disk the checkpoint will complain
            self.skips.write(self.workdir / SKIPPED)
        save_checkpoint(self.workdir, checkpoint, keep=self.habits.keep, best=best)

    def _save_due(self) -> bool:
        habits = self.habits
        if habits.checkpoint_steps and self.step % habits.checkpoint_steps == 0:
            return True
        return time.monotonic() - self._saved_at >= 60.0 * habits.checkpoint_minutes

    def _take_steps(self, iterator: Iterator[Any]) -> None:
        count = self._steps_in_next_call()
        rates = [self.schedule.rate(step) for step in range(self.step, self.step + count)]
        try:
            done = self.engine.train(iterator, rates, self.step)
        except FloatingPointError as error:
            raise self._diverged(error.args[0]) from None
        if self._seconds_per_step is not None or count > 1:  # the first call includes tracing
            self._seconds_per_step = done.seconds / count
        else:
            self._seconds_per_step = SECONDS_PER_CALL / 2
        self.step += count
        batch = self.schedule.recipe.batch_size
        self._sums.add(done, batch)
        if self.schedule.watching:
            self._watch(int(done.wrong.sum()), count * batch)
        self.reporter.update(
            self.step,
            loss=self._sums.mean_loss,
            error=self._sums.error,
            images_per_second=count * batch / done.seconds,
            waiting=done.waiting / done.seconds,
            memory=peak_memory(self.engine.strategy),
        )

    def _steps_in_next_call(self) -> int:
        ends = [self.total_steps, (self.step // self.steps_per_epoch + 1) * self.steps_per_epoch]
        if self.schedule.watching:
            ends.append((self.step // WINDOW + 1) * WINDOW)
        if self.habits.checkpoint_steps:
            # Multiples of the step: workers, each with its own clock, then agree on every call's length.
            ends.append((self.step // self.habits.checkpoint_steps + 1) * self.habits.checkpoint_steps)
        if self.workers > 1:
            return max(1, min(STEPS_PER_CALL_TOGETHER, min(ends) - self.step))
        if self._seconds_per_step is None:
            return 1
        wanted = int(SECONDS_PER_CALL / max(self._seconds_per_step, 1e-6))
        return max(1, min(wanted, MOST_STEPS_PER_CALL, min(ends) - self.step))

    def _watch(self, wrong: int, images: int) -> None:
        self._window["wrong"] += wrong
        self._window["images"] += images
        if self.step % WINDOW == 0:
            error = 100.0 * self._window["wrong"] / self._window["images"]
            self._window = {"wrong": 0, "images": 0}
            self.schedule.observe_training(error)
            if not self.schedule.watching:
                rate = self.schedule.rate(self.step)
                self.reporter.say(f"step {self.step:,}: training error {error:.1f} %, rate now {rate:g}")

    def _validate(self, validation: Callable[[], Iterable[Any]], request: StopRequest) -> float:
        """Validation error in percent.

        Raises:
            Interrupted: a signal came; the epoch is saved as not yet validated.
        """

        def stop_asked() -> bool:
            # Several workers must do the same: they continue.
            return self.workers == 1 and bool(request.signal_number)

        error = validation_error(self.engine, validation(), self.skips, stop_asked)
        if error is None:
            self._stop(request.signal_number or signal.SIGTERM)
        return error

    def _end_epoch(self, history: History, board: TensorBoard | None, val_error: float) -> None:
        sums = self._sums
        self.last = {
            "step": self.step,
            "epoch": round(self.step / self.steps_per_epoch, 4),
            "learning_rate": self.schedule.rate(self.step - 1),
            "train_loss": sums.mean_loss,
            "train_error": sums.error,
            "val_error": val_error,
            "images_per_second": sums.images / sums.seconds,
            "waiting": sums.waiting / sums.seconds,
        }
        self._sums = EpochSums()
        self.schedule.observe_validation(val_error)
        best = val_error < self.best
        self.best = min(self.best, val_error)
        if self.chief:
            history.add(self.last)
        if board is not None:
            board.add(self.last)
        self.save(best=best)
        skipped = skipped_images(len(self.skips.names), self.workdir)
        self.reporter.epoch(self.last, self.total_steps / self.steps_per_epoch, skipped)

    def _profile(self, advance: Callable[[], None], until: int) -> None:
        began = self.step
        with tf.profiler.experimental.Profile(str(self.workdir / "profile")):
            while self.step < until:
                self._seconds_per_step = SECONDS_PER_CALL  # one step a call
                advance()
        self.reporter.say(
            f"trace of {self.step - began} steps in {self.workdir / 'profile'}; open it with TensorBoard"
        )

    def _agreed(self, signal_number: int | None) -> int:
        """The signal that any worker got, 0 if none: all of them stop after the same step."""
        number = signal_number or 0
        if self.workers == 1:
            return number
        strategy = self.engine.strategy
        numbers = strategy.run(
            lambda: tf.distribute.get_replica_context().all_reduce("SUM", tf.constant(float(number > 0)))
        )
        anyone = float(strategy.experimental_local_results(numbers)[0]) > 0
        return (number or signal.SIGTERM) if anyone else 0

    def _stop(self, signal_number: int) -> NoReturn:
        self.save()
        raise Interrupted(
            f"stopped at step {self.step:,} of {self.total_steps:,}, saved in {self.workdir}; "
            "run the same command again to resume",
            signal_number,
        )

    def _diverged(self, step: int) -> UserError:
        good = None
        with suppress(UserError):  # damaged ones do not hide why the run stopped
            good = latest_checkpoint(self.workdir)
        kept = f"the last good checkpoint is that of step {good.step:,}" if good else "no checkpoint yet"
        return UserError(
            f"the loss or a weight is not a finite number at step {step:,}; {kept} in {self.workdir}. "
            "Try a lower --learning-rate, --gradient-clip 1, or --precision float32, with --fresh"
        )
