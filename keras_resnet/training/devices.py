"""Which devices of which machines a run uses, and in which precision: strategies and Keras' dtype policy."""

from __future__ import annotations

import os
import re
import resource
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from keras_resnet.errors import UsageError, UserError, first_line
from keras_resnet.recipes import Precision
from keras_resnet.training.cluster import cluster_resolver, set_cluster


def make_strategy(
    devices: str = "all", workers: Sequence[str] = (), worker_index: int | None = None
) -> tf.distribute.Strategy:
    """A strategy over the devices asked for; call it before anything else uses TensorFlow.

    One machine gets a `MirroredStrategy`. Several get a `MultiWorkerMirroredStrategy`: they are named
    by `workers`, by the environment's TF_CONFIG, or by Slurm where a job step has several tasks.

    Args:
        devices: "all" (every GPU, or the CPU where there is none), a number of GPUs, "cpu:K" for the
            CPU as K logical devices, or "tpu".
        workers: HOST:PORT of every worker, the same list everywhere; the first one is the chief.
        worker_index: this worker's place in `workers`, from 0.

    Raises:
        UsageError: `devices` or `workers` is not of that form.
        UserError: the machine has no such devices.
    """
    if workers:
        set_cluster(workers, worker_index)
    elif worker_index is not None:
        raise UsageError(f"--worker-index {worker_index}: --workers must list all of them")
    resolver = cluster_resolver()
    if devices == "tpu":
        return _tpu_strategy()
    if resolver is not None:
        _hide_devices(devices)
        # Left to itself, TensorFlow takes the slower ring.
        kinds = tf.distribute.experimental.CommunicationImplementation
        implementation = kinds.NCCL if tf.config.get_visible_devices("GPU") else kinds.AUTO
        options = tf.distribute.experimental.CommunicationOptions(implementation=implementation)
        return tf.distribute.MultiWorkerMirroredStrategy(resolver, options)
    kind, _, number = devices.partition(":")
    if kind == "cpu":
        count = _positive(number or "1", devices)
        _show_gpus([])
        return tf.distribute.MirroredStrategy(_logical_cpus(count))
    gpus = tf.config.get_visible_devices("GPU")
    if not gpus and Path("/dev/nvidia0").exists():
        print("TensorFlow does not see this machine's GPU: pip install 'keras-resnet[gpu]'", file=sys.stderr)
    count = len(gpus)
    if devices != "all":
        hint = f"--devices cpu:{devices} splits the CPU into {devices} devices instead"
        count = _gpu_count(devices, len(gpus), hint)
        _show_gpus(gpus[:count])
    names = [gpu.name for gpu in tf.config.list_logical_devices("GPU")][:count]
    return tf.distribute.MirroredStrategy(names or _logical_cpus(1))


def _show_gpus(gpus: Sequence[Any]) -> None:
    """TensorFlow takes the memory of every GPU that it sees, and computes there."""
    with suppress(RuntimeError):  # it has begun already, in a program of the user's own
        tf.config.set_visible_devices(gpus, "GPU")


def distribute(
    strategy: tf.distribute.Strategy, batches: Callable[[int, int], tf.data.Dataset], batch_size: int
) -> Any:
    """An iterable whose elements `strategy.run` takes: each worker's share, split over its replicas.

    Args:
        strategy: the run's.
        batches: (worker, workers) → that worker's share of every batch.
        batch_size: images of a whole batch, over all workers and replicas.
    """
    replicas = strategy.num_replicas_in_sync
    if replicas == 1:
        return batches(0, 1)

    def of_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
        share = batches(context.input_pipeline_id, context.num_input_pipelines)
        if context.num_input_pipelines < replicas:
            share = share.rebatch(batch_size // replicas)
        return share

    return strategy.distribute_datasets_from_function(of_worker)


def workers_of(strategy: tf.distribute.Strategy) -> tuple[int, int]:
    """This worker's index and the number of workers; (0, 1) on one machine."""
    resolver = strategy.cluster_resolver
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy) or resolver is None:
        return 0, 1
    cluster = resolver.cluster_spec().as_dict()
    chiefs, others = len(cluster.get("chief", ())), len(cluster.get("worker", ()))
    before = chiefs if resolver.task_type == "worker" else 0  # a chief, where one is named, is the first
    return before + int(resolver.task_id or 0), max(1, chiefs + others)


@contextmanager
def device_errors(strategy: tf.distribute.Strategy, workdir: Path) -> Iterator[None]:
    """Say in one line what TensorFlow says of a device or disk that is full, or of a worker that is gone.

    Raises:
        UserError: one of them.
    """
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        if re.search("no space|quota|open files", error.message, re.IGNORECASE):
            raise UserError(f"cannot write or read a file: {first_line(error)}") from error
        raise UserError(
            "a device ran out of memory: with --fresh, use a smaller --batch-size, split the batch with "
            "--accumulate, or use a smaller --image-size or --precision mixed_bfloat16"
        ) from error
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.DeadlineExceededError) as error:
        if workers_of(strategy)[1] == 1:
            raise
        raise UserError(
            f"another worker is gone; the run is saved in {workdir} up to its last checkpoint: start all "
            "workers again with the same commands to resume"
        ) from error


@contextmanager
def precision_of_layers(precision: Precision) -> Iterator[None]:
    """Keras' dtype policy for the layers built within; variables stay float32."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def describe_devices(strategy: tf.distribute.Strategy) -> str:
    """For people: "1 CPU", "4 GPUs"."""
    device = strategy.extended.worker_devices[0]
    kind = next((kind for kind in ("GPU", "TPU") if kind in device.upper()), "CPU")
    count = strategy.num_replicas_in_sync
    _, workers = workers_of(strategy)
    return f"{count} {kind}{'s' if count > 1 else ''}{f' of {workers} workers' if workers > 1 else ''}"


def peak_memory(strategy: tf.distribute.Strategy) -> int:
    """The most bytes that were in use at once: on the first GPU, or by this process where there is none."""
    device = strategy.extended.worker_devices[0]
    if "GPU" in device.upper():
        return int(tf.config.experimental.get_memory_info(device)["peak"])
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def compiled_by_xla(strategy: tf.distribute.Strategy) -> bool:
    """Whether a replica's step is: on GPUs (on a CPU it halves the speed; TPUs know nothing else).

    KERAS_RESNET_XLA=0 turns it off. With deterministic kernels (TF_DETERMINISTIC_OPS=1) XLA lacks the
    gradient of max pooling.
    """
    from tensorflow.python.framework.config import is_op_determinism_enabled  # as Keras asks

    wanted = os.environ.get("KERAS_RESNET_XLA") != "0" and not is_op_determinism_enabled()
    return wanted and "GPU" in strategy.extended.worker_devices[0].upper()


def _positive(number: str, devices: str) -> int:
    if not number.isdigit() or int(number) < 1:
        raise UsageError(f"--devices {devices}: expected a number, all, cpu:K or tpu")
    return int(number)


def _gpu_count(devices: str, there: int, hint: str) -> int:
    """How many GPUs `--devices N` asks for; a machine without any counts as one device, its CPU."""
    count = _positive(devices, devices)
    if count > max(there, 1):
        raise UserError(f"--devices {count}: GPUs on this machine: {there}; {hint}")
    return count


def _logical_cpus(count: int) -> list[str]:
    if count > 1:
        physical = tf.config.list_physical_devices("CPU")[0]
        try:
            tf.config.set_logical_device_configuration(
                physical, [tf.config.LogicalDeviceConfiguration()] * count
            )
        except RuntimeError:  # TensorFlow is initialised already; it may have been split before
            if len(tf.config.list_logical_devices("CPU")) < count:
                raise UserError(
                    f"--devices cpu:{count}: TensorFlow already runs in this process with fewer devices; "
                    "choose the devices before anything else uses it"
                ) from None
    return [device.name for device in tf.config.list_logical_devices("CPU")[:count]]


def _hide_devices(devices: str) -> None:
    """Several machines use all of their GPUs, or none where the CPU was asked for."""
    if devices.startswith("cpu"):
        if devices not in ("cpu", "cpu:1"):
            raise UsageError(f"--devices {devices}: with several workers each CPU is one device, cpu:1")
        tf.config.set_visible_devices([], "GPU")
    elif devices != "all":
        gpus = tf.config.get_visible_devices("GPU")
        count = _gpu_count(devices, len(gpus), "--devices all takes those that each machine has")
        tf.config.set_visible_devices(gpus[:count], "GPU")


def _tpu_strategy() -> tf.distribute.Strategy:
    try:
        # "local": a TPU VM, where nothing names the TPU.
        named = os.environ.get("TPU_NAME") or os.environ.get("KUBE_GOOGLE_CLOUD_TPU_ENDPOINTS")
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(**({} if named else {"tpu": "local"}))
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, OSError, tf.errors.OpError) as error:
        reason = first_line(error)[:200]
        raise UserError(f"--devices tpu: no TPU, or none that this TensorFlow can use ({reason})") from error
    return tf.distribute.TPUStrategy(resolver)
