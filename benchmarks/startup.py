"""How long one waits before anything happens: seconds from the command to its answer.

    python benchmarks/startup.py
    python benchmarks/startup.py --json     # rows: {case, ours, peer, peer_name, unit, ratio, goal, …}

`ratio` is peer / ours: above 1 we are quicker. Commands take turns with their peers; medians of the rounds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

from table import answer, row, say

CLI = "from keras_resnet.cli import main; main()"
KERAS_FIT = """
import keras, numpy as np
x = np.random.randint(0, 255, (64, 32, 32, 3)).astype("uint8"); y = np.random.randint(0, 10, 64)
from keras_resnet import builders
from keras_resnet.architectures import ARCHITECTURES
builders.BatchNormalization = keras.layers.BatchNormalization
model = builders.build_model(ARCHITECTURES["resnet20"], mean=[120.0] * 3, std=[60.0] * 3)
model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "sparse_categorical_crossentropy", jit_compile=False)
model.fit(x, y, batch_size=64, verbose=0)
"""
BUILD = "import keras_resnet; keras_resnet.ResNet50(weights=None)"
KERAS_BUILD = "import keras; keras.applications.ResNet50(weights=None)"


def seconds(program: str, *arguments: str) -> float:
    """Wall time of one Python process."""
    env = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, env=env, text=True
    )
    if done.returncode:
        raise SystemExit(f"error: {' '.join(arguments) or program} failed: {done.stderr.strip()[-500:]}")
    return time.perf_counter() - began


def first_step() -> float:
    """From the command to the end of the first training step (and of the run, which is that step)."""
    with tempfile.TemporaryDirectory() as folder:
        return seconds(CLI, "train", "--depth", "20", "--steps", "1", "--workdir", f"{folder}/run")


# case: (ours, name of the peer, peer, the most seconds that ours should take)
CASES = {
    "keras-resnet --help": (
        lambda: seconds(CLI, "--help"),
        "python -c pass",
        lambda: seconds("pass"),
        0.3,
    ),
    "keras-resnet models": (
        lambda: seconds(CLI, "models"),
        "import keras",
        lambda: seconds("import keras"),
        0.5,
    ),
    "import and build ResNet-50": (
        lambda: seconds(BUILD),
        "keras.applications",
        lambda: seconds(KERAS_BUILD),
        None,
    ),
    "train --depth 20, one step": (first_step, "keras fit, one step", lambda: seconds(KERAS_FIT), 12.0),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rows = []
    for case, (ours, peer_name, peer, limit) in CASES.items():
        pairs = [(ours(), peer()) for _ in range(options.rounds)]
        new = row(
            case,
            statistics.median(a for a, _ in pairs),
            statistics.median(b for _, b in pairs),
            peer_name,
            "s",
            ratio=statistics.median(b / a for a, b in pairs),
            limit=limit,
        )
        say([new])
        rows.append(new)
    answer(rows, options.json)


if __name__ == "__main__":
    main()
