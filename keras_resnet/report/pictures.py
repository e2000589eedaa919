"""Sample mistakes: the images that a run was most confident about and wrong."""

from __future__ import annotations

from keras_resnet.errors import UserError
from keras_resnet.pages.blocks import Gallery
from keras_resnet.paper.folders import RunFolder

COUNT = 12


def surest_mistakes(run: RunFolder, data_dir: str | None = None, count: int = COUNT) -> Gallery | None:
    """The run's most confident mistakes on its test split; None where scores or images are not at hand."""
    scores = run.path / "scores-single.npz"
    if not scores.exists():
        return None
    from keras_resnet.quiet import import_tensorflow

    import_tensorflow()
    from keras_resnet.data.sources import open_dataset
    from keras_resnet.evaluation import load_scores
    from keras_resnet.evaluation.mistakes import gallery

    try:
        kept = load_scores(scores)
        held_out = run.settings["hold_out"]
        dataset = open_dataset(kept.dataset, data_dir=data_dir, held_out=held_out, prepare=False)
        return gallery(kept, dataset, count)
    except UserError:
        return None
