"""Inference speed of the exported SavedModel beside OpenVINO, onnxruntime and keras.applications.

    python benchmarks/inference.py                 # ResNet-50 at 224², batches of 1 and 16, a table
    python benchmarks/inference.py --json          # a list of {case, ours, peer, peer_name, unit, ratio}
    python benchmarks/inference.py --batches 1 --peers "openvino bfloat16"

All run the same network with the same random weights, except keras.applications, which runs its own
ResNet-50. Every contestant is a process of its own that stays alive; they take turns, so that a machine
whose speed drifts drifts for all of them. OpenVINO gets our float32 SavedModel folder and compiles it for the
batch size at hand; onnxruntime gets our ONNX file; ours is what
`tf.saved_model.load(…).signatures["serving_default"]` answers, with the one environment variable that
docs/serving.md recommends. A contestant's time is the median of its
rounds' best half: what remains is the program, not its neighbours on the machine. Batch 1 also has its
latency: p50 and p99 over all calls. Peers that are not installed are left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

NETWORK, SIZE = "resnet50", 224
CALLS = {1: 20, 16: 3}
OURS = ("ours float32", "ours bfloat16")
RECOMMENDED = {"TF_ONEDNN_THREADPOOL_USE_CALLER_THREAD": "1"}
# (peer, which of ours is compared with it)
PEERS = {
    "openvino float32": "ours float32",
    "openvino bfloat16": "ours bfloat16",
    "onnxruntime float32": "ours bfloat16",
    "keras.applications float32": "ours bfloat16",
}
MODULES = {"openvino": "openvino", "onnxruntime": "onnxruntime", "keras.applications": "keras"}


def prepare(folder: Path) -> None:
    """Export the network in every form that a contestant needs."""
    from saved_networks import saved_network

    from keras_resnet.export import export_model

    model = saved_network(folder / f"{NETWORK}.keras", NETWORK, classes=1000, size=SIZE)
    for precision in ("float32", "bfloat16"):
        export_model(str(model), str(folder / precision), precision=precision)
    if importlib.util.find_spec("tf2onnx") and importlib.util.find_spec("onnxruntime"):
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
    options.intra_op_num_threads = os.cpu_count()
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


def contestant(name: str, folder: str, batch: str) -> None:
    """Child process: for every line on stdin (a number of calls) a line of their seconds on stdout."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # frameworks that print do not disturb the protocol
    program, precision = name.split()
    run = CONTESTANTS[program](Path(folder), precision, int(batch))
    for line in sys.stdin:
        seconds = []
        for _ in range(int(line)):
            began = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - began)
        print(json.dumps(seconds), file=answers, flush=True)


class Process:
    """A contestant at work."""

    def __init__(self, name: str, folder: Path, batch: int):
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--contestant", name, str(folder), str(batch)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"} | (RECOMMENDED if name in OURS else {}),
        )

    def seconds(self, calls: int) -> list[float]:
        """Times of so many calls."""
        assert self.process.stdin is not None and self.process.stdout is not None
        print(calls, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"{' '.join(map(str, self.process.args))} failed; run it by hand to see why")
        return json.loads(answer)

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()


def typical(rounds: list[list[float]]) -> float:
    """Median of the better half of all calls."""
    calls = sorted(seconds for calls in rounds for seconds in calls)
    return statistics.median(calls[: max(1, len(calls) // 2)])


def compare(folder: Path, batch: int, peers: list[str], rounds: int) -> list[dict]:
    names = [name for name in OURS if name in {PEERS[peer] for peer in peers}] + peers
    processes = {name: Process(name, folder, batch) for name in names}
    calls = CALLS.get(batch, 3)
    try:
        for process in processes.values():
            process.seconds(3)  # warm-up
        times: dict[str, list[list[float]]] = {name: [] for name in names}
        for _ in range(rounds):
            for name, process in processes.items():
                process.seconds(2)  # its weights are in the cache again
                times[name].append(process.seconds(calls))
    finally:
        for process in processes.values():
            process.close()
    speed = {name: batch / typical(values) for name, values in times.items()}
    rows = [
        row(f"{PEERS[peer].split()[1]} batch {batch}", speed[PEERS[peer]], speed[peer], peer, "images/s")
        for peer in peers
    ]
    if batch == 1:
        for share in (50, 99):
            latency = {name: percentile(values, share) for name, values in times.items()}
            rows += [
                row(f"{PEERS[p].split()[1]} latency p{share}", latency[PEERS[p]], latency[p], p, "ms")
                for p in peers
            ]
    return rows


def percentile(rounds: list[list[float]], share: int) -> float:
    """Milliseconds."""
    calls = sorted(seconds for calls in rounds for seconds in calls)
    return 1e3 * calls[min(len(calls) - 1, round(share / 100 * (len(calls) - 1)))]


def row(case: str, ours: float, peer: float, name: str, unit: str) -> dict:
    """Ratios above 1 are better for us, in either unit."""
    ratio = peer / ours if unit == "ms" else ours / peer
    return {
        "case": case,
        "ours": round(ours, 2),
        "peer": round(peer, 2),
        "peer_name": name,
        "unit": unit,
        "ratio": round(ratio, 3),
    }


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
        contestant(*options.contestant)
        return
    if options.prepare:
        prepare(options.prepare)
        return
    peers = [peer for peer in options.peers if importlib.util.find_spec(MODULES[peer.split()[0]])]
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
            rows += new
            if not options.json:
                for line in new:
                    print("{case}: {ours} {unit}, {peer_name} {peer}: {ratio}".format(**line), flush=True)
    if options.json:
        print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
