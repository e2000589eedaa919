"""Which machines train together: by --workers, TF_CONFIG or Slurm's variables."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from keras_resnet.errors import UsageError, UserError


def set_cluster(workers: Sequence[str], index: int | None) -> None:
    """Set TF_CONFIG to these workers, HOST:PORT each, of which this one is number `index`.

    Raises:
        UsageError: there is no such number, or a worker is not of that form.
    """
    if index is None or not 0 <= index < len(workers):
        raise UsageError(
            f"--workers names {len(workers)} workers: --worker-index must be 0…{len(workers) - 1}"
        )
    for worker in workers:
        host, _, port = worker.rpartition(":")
        if not host or not port.isdigit():
            raise UsageError(f"--workers: {worker!r} is not HOST:PORT")
    _write_tf_config(workers, index)


def _write_tf_config(workers: Sequence[str], index: int) -> None:
    cluster = {"cluster": {"worker": list(workers)}, "task": {"type": "worker", "index": index}}
    os.environ["TF_CONFIG"] = json.dumps(cluster)


def cluster_resolver() -> Any:
    """What TF_CONFIG or Slurm says of the cluster, or None on one machine."""
    if not os.environ.get("TF_CONFIG"):
        _join_slurm()
    if os.environ.get("TF_CONFIG"):
        try:
            cluster = json.loads(os.environ["TF_CONFIG"])["cluster"]
            workers = [*cluster.get("chief", ()), *cluster.get("worker", ())]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                'TF_CONFIG is not of the form {"cluster": {"worker": […]}, "task": {…}}'
            ) from error
        if len(workers) > 1:
            return tf.distribute.cluster_resolver.TFConfigClusterResolver()
    return None


def _join_slurm() -> None:
    """Set TF_CONFIG to the tasks of a step of several, and share a node's GPUs out among those on it."""
    tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS", "1"))
    if tasks == 1:
        return
    # TensorFlow's resolver tells the addresses; it would also say that there are GPUs where there are none.
    resolver = _SlurmResolver(gpus_per_node=tasks, gpus_per_task=1, auto_set_gpu=False)
    addresses, own = resolver.cluster_spec().as_dict()["worker"], resolver.task_id
    _write_tf_config(addresses, own)
    hosts = [address.rpartition(":")[0] for address in addresses]
    here = [place for place, host in enumerate(hosts) if host == hosts[own]]
    gpus = tf.config.list_physical_devices("GPU")
    share = len(gpus) // len(here)
    if len(here) > 1 and share and "SLURM_GPUS_PER_TASK" not in os.environ:  # or each sees its own only
        first = share * here.index(own)
        tf.config.set_visible_devices(gpus[first : first + share], "GPU")


class _SlurmResolver(tf.distribute.cluster_resolver.SlurmClusterResolver):
    """With the right addresses on nodes n9 and n10.

    TensorFlow's numbers the workers by its own order of nodes, as texts; Slurm by that of its list.
    """

    def _resolve_own_rank(self) -> int:
        place, tasks = super()._resolve_own_rank(), self._resolve_task_configuration()
        for host, count in tasks.items():
            if place < count:
                return place + sum(others for other, others in tasks.items() if other < host)
            place -= count
        raise UserError("SLURM_PROCID is larger than the number of tasks")
