"""What a report still lacks, measured where the data are at hand: test errors and responses."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from keras_resnet.errors import UserError
from keras_resnet.paper.folders import RunFolder

MOST_LAYERS = 200  # beyond, tracing the measurement of responses takes minutes


def measure(runs: Sequence[RunFolder], data_dir: str | None = None, skip_limit: float = 0.05) -> None:
    """Test finished runs that have not been, and measure CIFAR networks' responses; say what could not be.

    Nothing here ends a report: runs whose data are elsewhere are reported with what their folders hold.
    """
    todo = [run for run in runs if run.finished and (not run.evaluations or _lacks_responses(run))]
    if not todo:
        return
    from keras_resnet.quiet import import_tensorflow

    import_tensorflow()
    from keras_resnet.data.sources import open_dataset
    from keras_resnet.paper.responses import run_responses
    from keras_resnet.paper.testing import measure_errors
    from keras_resnet.training.checks import check_held_out

    for run in todo:
        try:
            name, held_out = run.settings["dataset"], run.settings["hold_out"]
            dataset = open_dataset(name, data_dir=data_dir, held_out=held_out, prepare=False)
            check_held_out(run.path, dataset)
            if not run.evaluations:
                measure_errors(run.path, dataset, skip_limit=skip_limit)
            if _lacks_responses(run):
                run_responses(run.path, dataset, skip_limit=skip_limit)
        except UserError as error:
            print(f"{run.path} is reported as it is: {error}", file=sys.stderr)


def _lacks_responses(run: RunFolder) -> bool:
    network = run.net.architecture
    return run.responses is None and network.family == "cifar" and network.depth <= MOST_LAYERS
