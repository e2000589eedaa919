"""One training run from start to finish: build, resume, epochs, checkpoints, the saved model."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

import keras
import tensorflow as tf

from keras_resnet.backbone import freeze
from keras_resnet.builders import build_model
from keras_resnet.data.sources import Dataset
from keras_resnet.errors import UserError, first_line
from keras_resnet.layers import require_tensorflow
from keras_resnet.saving import RUN_MODEL, ModelInfo, save_model
from keras_resnet.training.announcement import announcement
from keras_resnet.training.checkpoints import Checkpoint, best_checkpoint, latest_checkpoint, locked
from keras_resnet.training.checks import (
    check_agreement,
    check_batch,
    check_data,
    check_extras,
    check_initial_weights,
    check_splits,
    data_facts,
)
from keras_resnet.training.devices import (
    device_errors,
    make_strategy,
    precision_of_layers,
    workers_of,
)
from keras_resnet.training.engine import Engine
from keras_resnet.training.epochs import EpochLoop, Habits
from keras_resnet.training.inputs import Inputs
from keras_resnet.training.interrupts import Interrupted
from keras_resnet.training.progress import Reporter, say
from keras_resnet.training.recalibration import BATCHES, recalibrate, recalibration_batches
from keras_resnet.training.record import SKIPPED, RunRecord, RunResult, plain
from keras_resnet.training.schedules import Schedule
from keras_resnet.training.settings import RunSettings, check_same, eval_view, train_view
from keras_resnet.weights.initial import initial_state, start_from
from keras_resnet.weights.state import State


def train(
    settings: RunSettings,
    dataset: Dataset,
    workdir: str | Path,
    *,
    strategy: tf.distribute.Strategy | None = None,
    fresh: bool = False,
    habits: Habits | None = None,
    quiet: bool = False,
) -> RunResult:
    """Train, or resume where an earlier call with the same `workdir` stopped.

    Args:
        settings: what to train (`settings.make_settings`).
        dataset: the data that `settings.dataset` names, opened.
        workdir: the run folder; created if needed. Several workers must see the same one.
        strategy: made by `devices.make_strategy`; by default from `settings.devices`.
        fresh: forget what is in `workdir`.
        habits: how often to save, and what else to write (`epochs.Habits`).
        quiet: say nothing on stderr.

    Raises:
        UserError: bad data, a folder of another run, a full disk, a diverging loss: one line each.
        Interrupted: SIGINT or SIGTERM came; everything is saved and the same call resumes.
    """
    require_tensorflow("training")
    workdir = Path(workdir)
    check_initial_weights(settings, workdir)
    strategy = strategy or make_strategy(settings.devices)
    chief = workers_of(strategy)[0] == 0
    with locked(workdir) if chief else nullcontext():
        record = RunRecord(workdir, strategy, writes=chief, fresh=fresh)
        if record.data:
            check_same(record.data["settings"], plain(settings.to_json()), str(workdir))
            if record.data["status"] == "finished" and (workdir / RUN_MODEL).exists():
                since = record.data.get("recalibrated")
                note = f" (its errors are those before it was recalibrated, {since})" if since else ""
                say(f"{workdir} is already trained{note}; --fresh starts over", quiet or not chief)
                return RunResult.of(record.data["results"], workdir)
        run = _Run(settings, dataset, record, strategy, habits or Habits(), fresh, quiet or not chief)
        return run.train()


@dataclass
class _Run:
    """The parts of a training run; lives as long as `train` does."""

    settings: RunSettings
    dataset: Dataset
    record: RunRecord
    strategy: tf.distribute.Strategy
    habits: Habits
    fresh: bool
    quiet: bool

    def __post_init__(self) -> None:
        settings, dataset = self.settings, self.dataset
        recipe = settings.recipe
        check_splits(settings, dataset)
        check_batch(settings, dataset, self.strategy)
        check_extras(self.habits)
        self.workdir = self.record.path.parent
        self.data = data_facts(settings, dataset)
        self.initial: State | None = None
        if settings.initial_weights:
            sides = (settings.image_size, settings.image_size)
            self.initial = initial_state(settings.initial_weights, settings.architecture, sides)
        if not dataset.is_small and Inputs.needs_statistics(settings, self.initial):
            say(f"looking at the colours of {dataset.name} …", self.quiet)
        skip_limit = self.habits.skip_limit
        self.inputs = Inputs.prepare(settings, dataset, self.strategy, self.initial, skip_limit)
        self.per_epoch = self.inputs.steps_per_epoch
        self.total_steps = recipe.steps or max(1, round(recipe.epochs * self.per_epoch))
        self.engine = self._build()
        self.schedule = Schedule(
            recipe,
            total_steps=self.total_steps,
            steps_per_epoch=self.per_epoch,
            depth=settings.architecture.depth,
        )

    def _build(self) -> Engine:
        settings = self.settings
        keras.utils.set_random_seed(settings.seed)
        # A mean image, or connected layers.
        fixed = self.inputs.mean.ndim == 3 or settings.architecture.block == "vgg"
        side = settings.image_size if fixed else None
        with self.strategy.scope(), precision_of_layers(settings.precision):
            model = build_model(
                settings.architecture,
                input_shape=(side, side, 3),
                classes=self.dataset.classes,
                classifier_activation=None,
                mean=self.inputs.mean,
                std=self.inputs.std,
                zero_init_residual=settings.recipe.zero_init_residual,
            )
            if self.initial is not None:
                start_from(model, self.initial)
            if settings.recipe.freeze:
                freeze(model, settings.recipe.freeze)
        return Engine(model, settings.recipe, self.strategy, settings.accumulate)

    def train(self) -> RunResult:
        """Train to the end and save the model; `run.json` says how far it came and why not further."""
        checkpoint = self._starting_point()
        first_step = checkpoint.step if checkpoint else 0
        reporter = Reporter(self.total_steps, first_step, self.quiet)
        loop = EpochLoop(
            self.engine,
            self.schedule,
            self.workdir,
            self.habits,
            reporter,
            self.inputs.skips,
            steps_per_epoch=self.per_epoch,
            total_steps=self.total_steps,
        )
        try:
            # First of all: a record without settings could not be resumed.
            self._record_start(first_step)
            if checkpoint:
                self.engine.restore(checkpoint.arrays)
                loop.restore(checkpoint)
                self.inputs.skips.read(self.workdir / SKIPPED)
            for line in announcement(self.inputs, self.schedule, self.workdir):
                reporter.say(line)
            if first_step:
                reporter.say(f"resuming at step {first_step:,} of {self.total_steps:,}")
            if self.inputs.reads_over(first_step):
                reporter.say("reading over the images that the epoch has shown already …")
            with self.inputs.skips.watch(), device_errors(self.strategy, self.workdir):
                batches = iter(self.inputs.training(first_step))
                self.inputs.validation()  # small splits are decoded now: later, signals would have to wait
                loop.run(batches, self.inputs.validation)
                return self._finish(loop)
        except (Interrupted, KeyboardInterrupt):
            self.record.update("interrupted", step=max(first_step, loop.step))
            raise
        except BaseException as error:
            with suppress(UserError):  # a full disk, say: what stopped the run is said, not this
                self.record.update("failed", step=max(first_step, loop.step), error=first_line(error))
            raise
        finally:
            reporter.close()
            if self.record.writes:
                with suppress(OSError):
                    self.inputs.skips.write(self.workdir / SKIPPED)

    def _starting_point(self) -> Checkpoint | None:
        """The checkpoint to resume from; refuses what does not fit it, and only then forgets an old run."""
        workdir = self.workdir
        if not self.fresh:
            check_data(self.dataset.name, self.data, self.record.data.get("data"), workdir)
        checkpoint = None if self.fresh else latest_checkpoint(workdir)
        agreed = [self.settings.to_json(), self.data, self.habits.checkpoint_steps]
        with device_errors(self.strategy, workdir):
            check_agreement(agreed, self.strategy, checkpoint.step if checkpoint else 0, workdir)
        if self.fresh:
            # Small splits are decoded here, and refused where too many images are unreadable.
            with self.inputs.skips.watch():
                self.inputs.training(0)
                self.inputs.validation()
            self.record.forget()
        return checkpoint

    def _record_start(self, first_step: int) -> None:
        settings = self.settings
        self.record.update(
            "running",
            step=first_step,
            settings=settings.to_json(),
            total_steps=self.total_steps,
            parameters=settings.architecture.parameters(self.dataset.classes, settings.image_size),
            val_split=self.inputs.val_split,
            data=self.data,
            view=train_view(settings, self.dataset).name,
        )

    def _finish(self, loop: EpochLoop) -> RunResult:
        """Take the best epoch, average and recalibrate where the recipe says so; write `model.keras`."""
        recipe = self.settings.recipe
        model = self.engine.model
        if recipe.keep_best and loop.best < loop.last["val_error"]:
            best = best_checkpoint(self.workdir)
            self.engine.restore(best.arrays)
            loop.last = dict(best.state["last"])
        if self.engine.average:
            self.engine.average.use()
        view = eval_view(self.settings, self.dataset)
        if recipe.recalibrate or recipe.ema:  # averaged weights have statistics of their own
            # In the parts that training had: all of a batch may not fit one device.
            parts = self.strategy.num_replicas_in_sync * self.settings.accumulate
            batches = recalibration_batches(
                self.dataset,
                view,
                split=self.settings.split,
                batches=BATCHES * parts,
                batch_size=recipe.batch_size // parts,
                skip_log=self.inputs.skips,
            )
            recalibrate(model, batches)
            loop.last["val_error"] = self.engine.evaluate(self.inputs.validation())
        last = loop.last
        result = RunResult(
            self.workdir,
            self.workdir / RUN_MODEL,
            self.total_steps,
            last["train_error"],
            last["val_error"],
            loop.best,
            last["images_per_second"],
            len(self.inputs.skips.names),
        )
        model.get_layer("predictions").activation = keras.activations.softmax
        info = ModelInfo(
            self.settings.architecture,
            self.dataset.label_names,
            view.image_size,
            view.resize,
            self.dataset.name,
            recipe.name,
            {
                "split": self.inputs.val_split,
                "top1_error": last["val_error"],
                "views": "single",
                "images": self.dataset.images(self.inputs.val_split),
            },
        )
        if self.record.writes:
            save_model(model, info, result.model)
        self.record.update("finished", step=self.total_steps, results=result.to_json())
        return result
