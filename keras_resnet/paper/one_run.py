"""One run of an experiment in a process of its own: train, test, write down what was measured.

Started by `runner.py` as `python -m keras_resnet.paper.one_run PLANNED-RUN-AS-JSON [ARGUMENT…]`, the
arguments being those of the user's own command. Prints nothing on stdout but the line of an error.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

from keras_resnet.errors import UserError
from keras_resnet.paper.folders import read_json
from keras_resnet.paper.plan import PlannedRun

LOOK_FOR_PARENT_EVERY = 2.0  # seconds


def main() -> None:
    """Train and test what the first argument says."""
    run = PlannedRun.from_json(sys.argv[1])
    sys.argv[:] = ["keras-resnet", *sys.argv[2:]]  # what run.json records as the command
    _stop_with(os.getppid())
    try:
        measure(run)
    except UserError as error:
        sys.stdout.buffer.write(os.fsencode(f"{error}\n"))  # it may name a file whose name is not UTF-8
        sys.stdout.flush()
        raise SystemExit(error.exit_code) from None


def measure(run: PlannedRun) -> None:
    """Train, test and measure responses, each unless it is done; training resumes where it stopped.

    Raises:
        UserError: the data or the folder are not usable.
        Interrupted: asked to stop; the same call resumes.
    """
    from keras_resnet.quiet import import_tensorflow

    import_tensorflow()
    from keras_resnet.data.sources import open_dataset
    from keras_resnet.paper.testing import measure_errors
    from keras_resnet.training.epochs import Habits
    from keras_resnet.training.run import train
    from keras_resnet.training.settings import make_settings

    conditions = run.conditions
    dataset = open_dataset(conditions.dataset, data_dir=conditions.data_dir, held_out=conditions.hold_out)
    settings = make_settings(
        run.net.architecture,
        dataset,
        recipe=conditions.recipe,
        overrides=conditions.overrides,
        image_size=conditions.image_size,
        precision=conditions.precision,
        devices=conditions.devices,
        seed=run.net.seed,
        hold_out=conditions.hold_out,
        accumulate=conditions.accumulate,
    )
    if not _is_trained(run):
        train(settings, dataset, run.folder, habits=Habits(skip_limit=conditions.skip_limit))
    if not run.evaluation.exists():
        measure_errors(run.folder, dataset, run.views, conditions.skip_limit)
    if run.responses:
        from keras_resnet.paper.responses import run_responses

        run_responses(run.folder, dataset, skip_limit=conditions.skip_limit)


def _is_trained(run: PlannedRun) -> bool:
    record = read_json(run.folder / "run.json") or {}
    return record.get("status") == "finished" and (run.folder / "model.keras").exists()


def _stop_with(parent: int) -> None:
    """Ask this process to save and stop when its parent is gone, even if that was killed."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_FOR_PARENT_EVERY)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    main()
