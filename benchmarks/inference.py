"""Inference speed of the exported SavedModel beside OpenVINO, onnxruntime and keras.applications.

    python benchmarks/inference.py                 # ResNet-50 at 224², batches of 1 and 16, a table
    python benchmarks/inference.py --json          # rows: {case, ours, peer, peer_name, unit, ratio, goal, …}
    python benchmarks/inference.py --batches 1 --peers "openvino bfloat16"

All run the same network with the same random weights, except keras.applications, which runs its own
ResNet-50 as it comes, in float32; the goal of 1.8 is our bfloat16 beside that. Every contestant is a process
of its own that stays alive; they take turns, so that a machine whose speed drifts drifts for all of them.
OpenVINO gets our float32 SavedModel folder and compiles it for the batch size at hand; onnxruntime gets our
ONNX file; ours is what `tf.saved_model.load(…).signatures["serving_default"]` answers, with the one
environment variable that docs/serving.md recommends. A contestant's time is the median of the better half of
all its calls: what remains is the program, not its neighbours on the machine. Batch 1 also has its latency:
p50 and p99 over all calls. Peers that are not installed are left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from table import Row, answer, row, say
from turns import Turn, answer_turns, contestants, stop_on_sigterm

NETWORK, SIZE = "resnet50", 224
CALLS = {1: 20, 16: 3}
OURS = ("ours float32", "ours bfloat16")
RECOMMENDED = {"TF_ONEDNN_THREADPOOL_USE_CALLER_THREAD": "1"}
# peer: (which of ours is compared with it, the least ratio of images/s that was aimed at)
PEERS = {
    "openvino float32": ("ours float32", 0.95),
    "openvino bfloat16": ("ours bfloat16", 0.95),
    "onnxruntime float32": ("ours bfloat16", 1.8),
    "keras.applications float32": ("ours bfloat16", 1.8),
}
# What has to be installed for a peer; tf2onnx writes the file that onnxruntime reads.
MODULES = {
    "openvino": ("openvino",),
    "onnxruntime": ("onnxruntime", "tf2onnx"),
    "keras.applications": ("keras",),
}


def installed(peer: str) -> bool:
    """Whether a peer ("onnxruntime float32", "onnxruntime") can take part."""
    return all(importlib.util.find_spec(module) for module in MODULES[peer.split()[0]])


def prepare(folder: Path) -> None:
    """Export the network in every form that a contestant needs."""
    from saved_networks import saved_network

    from keras_resnet.export import export_model

    model = saved_network(folder / f"{NETWORK}.keras", NETWORK, classes=1000, size=SIZE)
    for precision in ("float32", "bfloat16"):
        export_model(str(model), str(folder / precision), precision=precision)
    if installed("onnxruntime"):
        export_model(str(model), str(folder), format="onnx")


def images(batch: int):
    import numpy as np

    return np.random.default_rng(0).integers(0, 256, (batch, SIZE, SIZE, 3)).astype("float32")


def ours(folder: Path, precision: str, batch: int) -> Callable[[], object]:
    import tensorflow as tf

    model = tf.saved_model.load(str(folder / precision / "1"))
    data = tf.constant(images(batch))
    return lambda model=model: model.signatures["serving_default"](images=data)["probabilities"].numpy()


def openvino(folder: Path, precision: str, batch: int) -> Callable[[], object]:
    import openvino

    core = openvino.Core()
    model = core.read_model(folder / "float32" / "1")
    model.reshape([batch, SIZE, SIZE, 3])
    hint = {"float32": "f32", "bfloat16": "bf16"}[precision]
    compiled = core.compile_model(
        model, "CPU", {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
    )
    request, data = compiled.create_infer_request(), images(batch)
    return lambda: request.infer({0: data})[0]


def onnxruntime(folder: Path, precision: str, batch: int) -> Callable[[], object]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))  # what taskset leaves, not all there are
    session = onnxruntime.InferenceSession(folder / f"{NETWORK}.onnx", options)
    name, data = session.get_inputs()[0].name, images(batch)
    return lambda: session.run(None, {name: data})[0]


def keras_applications(folder: Path, precision: str, batch: int) -> Callable[[], object]:
    import keras

    model, data = keras.applications.ResNet50(weights=None), images(batch)
    return lambda: model.predict_on_batch(data)


CONTESTANTS = {
    "ours": ours,
    "openvino": openvino,
    "onnxruntime": onnxruntime,
    "keras.applications": keras_applications,
}


def contestant(name: str, folder: str, batch: str) -> Turn:
    """Seconds of each of so many calls."""
    program, precision = name.split()
    run = CONTESTANTS[program](Path(folder), precision, int(batch))

    def turn(calls: int) -> list[float]:
        seconds = []
        for _ in range(calls):
            began = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - began)
        return seconds

    return turn


def typical(rounds: list[list[float]]) -> float:
    """Median of the better half of all calls."""
    calls = sorted(seconds for calls in rounds for seconds in calls)
    return statistics.median(calls[: max(1, len(calls) // 2)])


def compare(folder: Path, batch: int, peers: list[str], rounds: int) -> list[Row]:
    names = [name for name in OURS if name in {PEERS[peer][0] for peer in peers}] + peers
    calls = CALLS.get(batch, 3)
    times: dict[str, list[list[float]]] = {name: [] for name in names}
    arguments = {name: (name, str(folder), str(batch)) for name in names}
    with contestants(__file__, arguments, dict.fromkeys(OURS, RECOMMENDED)) as processes:
        for process in processes.values():
            process.turn(3)  # warm-up
        for _ in range(rounds):
            for name, process in processes.items():
                process.turn(2)  # its weights are in the cache again
                times[name].append(process.turn(calls))
    speed = {name: batch / typical(values) for name, values in times.items()}
    latency = {
        share: {name: percentile(values, share) for name, values in times.items()}
        for share in ((50, 99) if batch == 1 else ())
    }
    rows = []
    for peer in peers:
        ours, goal = PEERS[peer]
        case = f"{ours.split()[1]} batch {batch}"
        goal_here = goal if batch in CALLS else None
        rows.append(row(case, speed[ours], speed[peer], peer, "images/s", goal=goal_here))
    for share, values in latency.items():
        for peer in peers:
            ours, _ = PEERS[peer]
            rows.append(row(f"{ours.split()[1]} latency p{share}", values[ours], values[peer], peer, "ms"))
    return rows


def percentile(rounds: list[list[float]], share: int) -> float:
    """Milliseconds."""
    calls = sorted(seconds for calls in rounds for seconds in calls)
    return 1e3 * calls[min(len(calls) - 1, round(share / 100 * (len(calls) - 1)))]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--batches", nargs="+", type=int, default=list(CALLS))
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="keep the exported networks here, and use them again")
    parser.add_argument("--contestant", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--prepare", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contestant:
        answer_turns(lambda: contestant(*options.contestant))
        return
    stop_on_sigterm()
    if options.prepare:
        prepare(options.prepare)
        return
    peers = [peer for peer in options.peers if installed(peer)]
    for peer in sorted(set(options.peers) - set(peers)):
        print(f"{peer} is not installed: left out", file=sys.stderr)
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if not (folder / "bfloat16" / "1").is_dir():
            tests = str(Path(__file__).resolve().parent.parent / "tests")
            environment = os.environ | {"PYTHONPATH": tests, "TF_CPP_MIN_LOG_LEVEL": "3"}
            command = [sys.executable, __file__, "--prepare", str(folder)]
            subprocess.run(command, check=True, env=environment, stdout=sys.stderr)
        for batch in options.batches:
            new = compare(folder, batch, peers, options.rounds)
            say(new)
            rows += new
    answer(rows, options.json)


if __name__ == "__main__":
    main()
