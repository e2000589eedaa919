"""`evaluate`: models in any saved form, over a split of a data set, by the paper's test protocols."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_resnet.data.pipeline import evaluation_batches, evaluation_images
from keras_resnet.data.skips import SkipLog
from keras_resnet.data.sources import Dataset
from keras_resnet.data.views import EvalView
from keras_resnet.errors import UsageError, UserError
from keras_resnet.evaluation import replicas
from keras_resnet.evaluation.classifier import Classifier, open_classifier
from keras_resnet.evaluation.multi_scale import score_images
from keras_resnet.evaluation.progress import progress as show_progress
from keras_resnet.evaluation.protocols import VIEWS, class_order, evaluation_split, view_of
from keras_resnet.evaluation.result import Evaluation
from keras_resnet.evaluation.running import Collected, collect, score_batches
from keras_resnet.evaluation.scores import Scores, average
from keras_resnet.evaluation.scores import save_scores as write_scores
from keras_resnet.loading import saved_model_folder
from keras_resnet.pages.writing import require_writable
from keras_resnet.saving import LoadedModel, model_file

Model = str | os.PathLike[str] | LoadedModel | Classifier


def evaluate(
    models: Sequence[Model] | Model,
    dataset: Dataset,
    *,
    split: str | None = None,
    views: str = "single",
    batch_size: int = 64,
    sizes: Sequence[int] | None = None,
    save_scores: str | os.PathLike[str] | None = None,
    progress: bool = True,
    strategy: Any = None,
    skip_limit: float = 0.05,
) -> Evaluation:
    """Test `models` on a split; several are an ensemble, their probabilities averaged.

    Args:
        models: run folders, `.keras` files, exported SavedModels, or models already loaded.
        dataset: what `keras_resnet.data.sources.open_dataset` returned.
        split: "test" where there is one (with labels), else the validation split.
        views: "single" (one central crop), "10-crop" (four corners and centre with mirror images,
            probabilities averaged), or "multi-scale" (whole images at several sizes, Sec. 3.4).
        batch_size: views per step, over all local devices; affects only speed and memory.
        sizes: shorter sides of the multi-scale test in pixels; the paper's, in proportion to the
            model's image size, by default.
        save_scores: an .npz file for `combine_scores`. An interrupted run with the same arguments
            resumes where it stopped, from the file beside it that ends in `.partial`.
        progress: a bar on stderr if it is a terminal, else one line per minute.
        strategy: a `tf.distribute` strategy; every image is computed once on one of its devices.
        skip_limit: the largest accepted share of unreadable images.

    Raises:
        UsageError: unknown views or split, or views that the model cannot be tested with.
        UserError: an unreadable model, other classes than the data has, too many unreadable images.
    """
    if isinstance(models, (str, os.PathLike, LoadedModel, Classifier)):
        models = [models]
    if not models:
        raise UsageError("nothing to evaluate: name at least one model")
    if views not in VIEWS:
        raise UsageError(f"unknown views {views!r}; choose one of {', '.join(VIEWS)}")
    if batch_size < 1:
        raise UsageError(f"batch_size must be at least 1, not {batch_size}")
    split = split or evaluation_split(dataset)
    # Mistakes in the call are reported before hours of computing.
    dataset.images(split)
    for model in models:
        if isinstance(model, (str, os.PathLike)) and saved_model_folder(model) is None:
            model_file(model)
    target = None if save_scores is None else require_writable(save_scores)
    run = _Run(dataset, split, batch_size, progress, strategy, skip_limit)
    parts: list[Scores] = []
    partials: list[Path | None] = []
    for number, source in enumerate(models):
        # One at a time: an ensemble needs the memory of one model only.
        with strategy.scope() if strategy is not None else nullcontext():
            classifier = open_classifier(source)
        title = classifier.name if len(models) == 1 else f"[{number + 1}/{len(models)}] {classifier.name}"
        view = view_of(classifier.info, views, sizes)
        # A model that came from no file cannot be recognised when the run is repeated.
        partials.append(_partial(target, number, strategy) if target and classifier.path else None)
        parts.append(run.score(classifier, view, title, partials[-1]))
        del classifier  # before the next one is loaded
    scores = average(parts)
    if target is not None and replicas.worker_of(strategy)[0] == 0:
        write_scores(scores, target)
    for partial in filter(None, partials):
        partial.unlink(missing_ok=True)
    return Evaluation.from_scores(scores)


def _partial(target: Path, number: int, strategy: Any) -> Path:
    """Where the scores of an unfinished model are kept."""
    worker, workers = replicas.worker_of(strategy)
    of_worker = f".{worker}-{workers}" if workers > 1 else ""
    return target.with_name(f"{target.name}.{number + 1}{of_worker}.partial")


@dataclass(frozen=True)
class _Run:
    """What all models of one call to `evaluate` share."""

    dataset: Dataset
    split: str
    batch_size: int
    progress: bool
    strategy: Any
    skip_limit: float

    def score(self, classifier: Classifier, view: EvalView, title: str, partial: Path | None) -> Scores:
        """One model over the split."""
        order = class_order(classifier, self.dataset)
        collected = Collected(self._identity(classifier, view), self.dataset.classes, partial)
        done = collected.resume()
        if collected.skipped is None:
            self._fill(collected, done, classifier, view, title)
        skipped = replicas.gather_names(self.strategy, collected.skipped or ())
        self._skips(skipped).check()  # of all workers
        rows = [replicas.gather_rows(self.strategy, part) for part in collected.rows()]
        by_number = np.argsort(rows[0], kind="stable")
        index, labels, probabilities = (part[by_number] for part in rows)
        if not len(index):
            raise UserError(f"nothing to evaluate: {self.dataset.name} has no readable image")
        if len(np.unique(index)) != len(index):
            raise RuntimeError(f"{self.dataset.name} {self.split}: an image was scored twice")
        return Scores(
            (classifier.name,),
            self.dataset.name,
            self.split,
            view.name,
            tuple(self.dataset.label_names),
            index,
            labels,
            probabilities[:, order],
            skipped,
        )

    def _fill(
        self, collected: Collected, done: np.ndarray, classifier: Classifier, view: EvalView, title: str
    ) -> None:
        """Score what `collected` lacks: all but the images numbered in `done`."""
        worker, workers = replicas.worker_of(self.strategy)
        log = self._skips()
        if view.name == "multi-scale":
            whole = evaluation_images(self.dataset, self.split, skip_log=log).shard(workers, worker)
            pixels = self.batch_size * view.image_size**2
            stream = score_images(whole, classifier, view.sizes, done, pixels, self.strategy)
        else:
            images = max(1, self.batch_size // (10 if view.name == "10-crop" else 1))
            batches = evaluation_batches(
                self.dataset,
                self.split,
                view,
                batch_size=images * workers,
                worker=worker,
                workers=workers,
                skip_log=log,
            )
            stream = score_batches(batches, classifier.predict, done, images, self.strategy)
        total = -(-self.dataset.images(self.split) // workers)
        with log.watch(), show_progress(title, total, len(done), show=self.progress) as advance:

            def done_more(images: int) -> None:
                log.check()
                advance(images)

            collect(stream, collected, done_more)
        log.check()
        collected.complete(log.names)

    def _skips(self, names: Iterable[str] = ()) -> SkipLog:
        log = SkipLog(self.skip_limit)
        log.expect(self.split, self.dataset.images(self.split))
        for name in names:
            log.add(self.split, name)
        return log

    def _identity(self, classifier: Classifier, view: EvalView) -> dict[str, Any]:
        """What must be the same for an interrupted run to resume: as JSON knows it."""
        path = classifier.path
        files = [] if path is None else [path, *path.rglob("*")]
        return {
            "model": str(path),
            "name": classifier.name,
            "changed": max((file.stat().st_mtime_ns for file in files), default=0),
            "dataset": self.dataset.name,
            "split": self.split,
            "images": self.dataset.images(self.split),
            "classes": list(self.dataset.label_names),
            "view": [view.name, view.image_size, view.resize, list(view.sizes)],
        }
