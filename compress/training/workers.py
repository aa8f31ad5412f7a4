"""Training on several machines at once: each learns a part of every batch, and all make the same step.

Every worker reads the same samples in the same order and holds the whole model. It takes the gradients of its part of
a batch; their mean over the batch is the sum over all workers (``tf.distribute.MultiWorkerMirroredStrategy``), weighted
by the size of each part. So all of them apply the same gradients to the same weights, and one batch is as large, and
one epoch as long, as with one worker.

The model's variables are plain ones, and only sums of numbers go through the strategy: what it would mirror stays equal
by itself, and layers that tfmot has wrapped need to know nothing. The sums are traced apart from the model: workers
find each other's by the order in which they were traced, and parts of other sizes trace the model anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tinsmith.compress.training.cluster import TIMEOUT_VARIABLE, Cluster
from tinsmith.convert.frameworks import require
from tinsmith.runtime.errors import DeviceError, HostError, UsageError, first_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Gradients = Callable[[dict[str, Any], Any], tuple[Any, list[Any]]]
    Apply = Callable[[list[Any]], None]
    Learner = Callable[[dict[str, Any], Any], Any]

__all__ = ["Alone", "Together", "Workers", "join", "part_of"]

_NEEDED_FOR = "training with several workers"
# Batch statistics of a single sample say nothing.
_SMALLEST_PART = 2
# Weights that two machines have computed by themselves differ by rounding alone.
_SAME_MODEL = 1e-4
# To see whether anybody listens at an address.
_PROBE_S = 2.0


class Workers(Protocol):
    """Those who train one model together; all of them call the same methods in the same order."""

    index: int

    def learner(self, gradients: Gradients, apply: Apply) -> Learner:
        """A function that learns one batch: takes feeds by name and labels, and gives the loss, a scalar tensor.

        Args:
            gradients: Loss and gradients of samples, each a mean over them; a gradient may be None.
            apply: Makes the step.
        """
        ...

    def mean(self, value: float) -> float:
        """The mean over all workers."""
        ...

    def level(self, variables: Sequence[Any]) -> None:
        """Give each variable of real numbers its mean over all workers: statistics that each has measured by itself."""
        ...

    def agree(self, run: str, epochs: int, variables: Sequence[Any]) -> None:
        """Make sure that all start the same training.

        Args:
            run: Names its settings and samples.
            epochs: How many are done already.
            variables: Of the model.

        Raises:
            UsageError: They don't.
        """
        ...

    def leave(self) -> None:
        """Wait until nobody needs this process any more."""
        ...


class Alone:
    """One worker: nobody to talk to."""

    index = 0

    def learner(self, gradients: Gradients, apply: Apply) -> Learner:
        """See ``Workers``."""

        def learn(feeds: dict[str, Any], labels: Any) -> Any:
            loss, found = gradients(feeds, labels)
            apply(found)
            return loss

        learned: Learner = require("tensorflow", needed_for="training").function(learn, reduce_retracing=True)
        return learned

    def mean(self, value: float) -> float:
        """See ``Workers``."""
        return value

    def level(self, variables: Sequence[Any]) -> None:
        """See ``Workers``."""

    def agree(self, run: str, epochs: int, variables: Sequence[Any]) -> None:
        """See ``Workers``."""

    def leave(self) -> None:
        """See ``Workers``."""


class Together:
    """Several workers; each method raises ``DeviceError`` where another one does not answer in time.

    Args:
        cluster: Who.
        strategy: A ``MultiWorkerMirroredStrategy`` with one replica a worker.
    """

    def __init__(self, cluster: Cluster, strategy: Any) -> None:
        self.index = cluster.index
        self._cluster = cluster
        self._size = len(cluster.addresses)
        self._tf = require("tensorflow", needed_for=_NEEDED_FOR)
        self._strategy = strategy
        self._summed = self._tf.function(lambda vector: strategy.run(self._all_reduced, args=(vector,)))

    def learner(self, gradients: Gradients, apply: Apply) -> Learner:
        """See ``Workers``."""
        tf = self._tf

        def dense(feeds: dict[str, Any], labels: Any) -> tuple[Any, list[Any]]:
            loss, found = gradients(feeds, labels)
            return loss, [one if one is None else tf.convert_to_tensor(one) for one in found]

        own, applied = tf.function(dense, reduce_retracing=True), tf.function(apply)

        def learn(feeds: dict[str, Any], labels: Any) -> Any:
            part, share = part_of(len(next(iter(feeds.values()))), self._size, self.index)
            mine = {name: array[part] for name, array in feeds.items()}
            loss, found = own(mine, None if labels is None else labels[part])
            total = iter(self._sums([share * one for one in (loss, *found) if one is not None]))
            loss = next(total)
            applied([one if one is None else next(total) for one in found])
            return loss

        return learn

    def mean(self, value: float) -> float:
        """See ``Workers``."""
        return float(self._sum(np.array([value]))[0]) / self._size

    def level(self, variables: Sequence[Any]) -> None:
        """See ``Workers``."""
        real = [variable for variable in variables if np.issubdtype(np.array(variable).dtype, np.floating)]
        if not real:
            return
        means = self._sum(np.concatenate([np.ravel(np.array(one)).astype(np.float32) for one in real])) / self._size
        sizes = [int(np.prod(one.shape)) for one in real]
        for one, part in zip(real, np.split(means.numpy(), np.cumsum(sizes)[:-1]), strict=True):
            one.assign(part.reshape(one.shape))

    def agree(self, run: str, epochs: int, variables: Sequence[Any]) -> None:
        """See ``Workers``; variables that differ by rounding alone become equal."""
        fingerprint = int(hashlib.sha256(run.encode()).hexdigest()[:12], 16)
        weight = sum(float(np.abs(np.array(one), dtype=np.float64).sum()) for one in variables)
        rows = np.zeros((self._size, 3))
        rows[self.index] = fingerprint, epochs, weight
        runs, done, weights = self._sum(rows.ravel()).numpy().reshape(rows.shape).T
        if (runs != runs[0]).any():
            raise _differ("their step, seed or samples", "give all of them the same command and copies of one data set")
        if not np.allclose(weights, weights[0], rtol=_SAME_MODEL) and (done == done[0]).all():
            raise _differ("their model", "give all of them copies of one model")
        if (done != done[0]).any():
            counts = ", ".join(f"{int(count)}" for count in done)
            raise _differ(
                f"how many epochs they have done ({counts})",
                "start all of them again without --resume",
            )
        self.level(variables)

    def leave(self) -> None:
        """See ``Workers``; the model is whole, so that another worker's end is no harm any more."""
        with contextlib.suppress(DeviceError):
            self._sum(np.zeros(1))

    def _sums(self, tensors: list[Any]) -> list[Any]:
        """The sum of each tensor over all workers, in one exchange."""
        tf = self._tf
        whole = self._sum(tf.concat([tf.reshape(tf.cast(one, tf.float32), [-1]) for one in tensors], axis=0))
        parts = tf.split(whole, [int(tf.size(one)) for one in tensors])
        return [tf.cast(tf.reshape(part, tf.shape(one)), one.dtype) for part, one in zip(parts, tensors, strict=True)]

    def _sum(self, vector: Any) -> Any:
        try:
            return self._summed(self._tf.constant(vector))
        except self._tf.errors.OpError as error:
            raise _lost(self._cluster, error) from error

    def _all_reduced(self, vector: Any) -> Any:
        tf = self._tf
        # a tensor that comes from outside says nothing of the device that holds it, and the strategy asks for that
        return tf.distribute.get_replica_context().all_reduce(
            "SUM", tf.identity(vector), options=_options(tf, self._cluster)
        )


def join(cluster: Cluster | None) -> Workers:
    """Meet the other workers; must come before anything else that TensorFlow does in this process.

    Args:
        cluster: Who; None for one worker alone.

    Raises:
        DeviceError: They did not come in time.
        HostError: This worker's port is taken.
    """
    if cluster is None:
        return Alone()
    _check_port(cluster)
    tf = require("tensorflow", needed_for=_NEEDED_FOR)
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": list(cluster.addresses)}),
        task_type="worker",
        task_id=cluster.index,
        # sums go over the processor, so that workers with and without accelerator can train together
        num_accelerators={},
        rpc_layer="grpc",
    )
    _bound_waiting(cluster)
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy(
            cluster_resolver=resolver, communication_options=_options(tf, cluster)
        )
    except (RuntimeError, tf.errors.OpError) as error:
        raise _lost(cluster, error) from error
    return Together(cluster, strategy)


def part_of(count: int, size: int, index: int) -> tuple[slice, float]:
    """Which samples of a batch a worker learns, and what its mean counts for in the sum over all workers.

    Args:
        count: Samples in the batch, at least 1.
        size: Workers.
        index: Which of them, from 0.

    Returns:
        The parts of all workers are the batch. One too small for that is learned whole by each, which comes to the
        same; their shares sum to 1 in any case, and each sample counts as much as another.
    """
    if count < _SMALLEST_PART * size:
        return slice(0, count), 1 / size
    part = slice(count * index // size, count * (index + 1) // size)
    return part, (part.stop - part.start) / count


def _options(tf: Any, cluster: Cluster) -> Any:
    collectives = tf.distribute.experimental
    return collectives.CommunicationOptions(
        timeout_seconds=cluster.timeout_s, implementation=collectives.CommunicationImplementation.RING
    )


def _bound_waiting(cluster: Cluster) -> None:
    """Let TensorFlow 2.21 give up on workers that don't come, and survive the end of one; it has no public way to.

    Its coordination service waits an hour for workers; without it, a first sum waits for them, for ever as it comes.
    """
    needed_for = _NEEDED_FOR
    context = require("tensorflow.python.eager.context", needed_for=needed_for).context()
    context.configure_coordination_service(service_type="")
    module = require("tensorflow.python.distribute.collective_all_reduce_strategy", needed_for=needed_for)
    module.CollectiveAllReduceExtended._check_health_initial_timeout = cluster.timeout_s  # noqa: SLF001 - see above


def _check_port(cluster: Cluster) -> None:
    """Two workers on one port would share it without an error, and wait for each other."""
    try:
        socket.create_server(("", cluster.port)).close()
    except OSError as error:
        raise HostError(
            f"worker {cluster.index} can't listen on port {cluster.port}: {error.strerror or error}",
            hint="give each worker its own index in TF_CONFIG, and a port that nobody uses",
        ) from error


def _lost(cluster: Cluster, error: BaseException) -> DeviceError:
    silent = [
        f"worker {at} at {address}"
        for at, address in enumerate(cluster.addresses)
        if at != cluster.index and not _listens(address)
    ]
    who = f"{' and '.join(silent)} can't be reached" if silent else f"a worker was lost: {_reason(error)}"
    return DeviceError(
        f"the workers can't train together: {who}",
        hint="look at what the other workers said, and start all of them again with --resume; they are waited for "
        f"{cluster.timeout_s:g} s, which {TIMEOUT_VARIABLE} can change",
    )


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PROBE_S).close()
    except OSError:
        return False
    return True


def _reason(error: BaseException) -> str:
    """The line that says something; TensorFlow begins with where the operator was made."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = [line for line in lines if line.startswith("Collective")]
    return said[0] if said else first_line(error)


def _differ(what: str, hint: str) -> UsageError:
    return UsageError(f"the workers can't train together: they differ in {what}", hint=hint)
