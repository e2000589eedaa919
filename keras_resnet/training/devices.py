"""Which devices a run uses, and in which precision: strategies and Keras' dtype policy."""

from __future__ import annotations

from typing import Literal

import keras
import tensorflow as tf

from keras_resnet.errors import UsageError, UserError

Precision = Literal["float32", "mixed_bfloat16", "mixed_float16"]


def make_strategy(devices: str = "all") -> tf.distribute.Strategy:
    """A `MirroredStrategy` over the devices asked for.

    Args:
        devices: "all" (every GPU, or the CPU where there is none), a number of GPUs, "cpu:K" for the
            CPU as K logical devices, or "tpu".

    Raises:
        UsageError: `devices` is not of that form.
        UserError: the machine has no such devices.
    """
    if devices == "tpu":
        return _tpu_strategy()
    kind, _, number = devices.partition(":")
    if kind == "cpu":
        count = _positive(number or "1", devices)
        return tf.distribute.MirroredStrategy(_logical_cpus(count))
    gpus = tf.config.list_logical_devices("GPU")
    if devices == "all":
        names = [gpu.name for gpu in gpus] or _logical_cpus(1)
    else:
        count = _positive(devices, devices)
        if count > len(gpus) and (gpus or count > 1):
            raise UserError(
                f"--devices {count}: this machine has {len(gpus)} GPUs; "
                f"--devices cpu:{count} splits the CPU into {count} devices instead"
            )
        names = [gpu.name for gpu in gpus[:count]] or _logical_cpus(1)
    return tf.distribute.MirroredStrategy(names)


def set_precision(precision: Precision) -> None:
    """Set Keras' dtype policy for the layers built from now on; variables stay float32."""
    keras.config.set_dtype_policy(precision)


def describe_devices(strategy: tf.distribute.Strategy) -> str:
    """For people: "1 CPU", "4 GPUs"."""
    device = strategy.extended.worker_devices[0]
    kind = next((kind for kind in ("GPU", "TPU") if kind in device.upper()), "CPU")
    count = strategy.num_replicas_in_sync
    return f"{count} {kind}{'s' if count > 1 else ''}"


def on_accelerator(strategy: tf.distribute.Strategy) -> bool:
    """Whether the replicas are GPUs or TPUs, where XLA pays (on a CPU it halves the speed)."""
    return not describe_devices(strategy).endswith(("CPU", "CPUs"))


def _positive(number: str, devices: str) -> int:
    if not number.isdigit() or int(number) < 1:
        raise UsageError(f"--devices {devices}: expected a number, all, cpu:K or tpu")
    return int(number)


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


def _tpu_strategy() -> tf.distribute.Strategy:
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver()
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, tf.errors.OpError) as error:
        raise UserError("--devices tpu: no TPU found (set TPU_NAME, or run on a TPU VM)") from error
    return tf.distribute.TPUStrategy(resolver)
