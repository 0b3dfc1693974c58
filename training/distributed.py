"""Data-parallel training of any Keras model on several machines, with `fit` and its callbacks.

`fit` of Keras 3 does not work in the scope of `tf.distribute.MultiWorkerMirroredStrategy` (keras-team/keras, issue
20585). So the model is an ordinary one here, made outside of the strategy, and each process calls Keras' own `fit` on
its rows of each batch. Only what has to cross processes goes through `strategy.run`: the gradients of each step, and
once an epoch the sums of the metrics, the means of the moving statistics, and the variables of the chief, whose
callbacks may have changed them.

    workers = Workers.connect(["10.0.0.1:12345", "10.0.0.2:12345"], index=0)  # before any other use of TensorFlow
    model = build_model()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    fit(model, workers, batches, epochs=10, callbacks=[keras.callbacks.ModelCheckpoint("best.keras")])
"""

import contextlib
import json
import os
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf

from kerasxai.engine.keras_internals import build_training_state
from kerasxai.tools.errors import KerasxaiError
from kerasxai.training.distributed_config import checked_workers

_WHOLE = (tf.int32, tf.int64)


class Workers:
    """The processes of one training; the first is the chief, which runs the callbacks.

    Attributes:
        index: The number of this process, from 0.
        count: The number of processes.
    """

    def __init__(self, strategy: tf.distribute.MultiWorkerMirroredStrategy) -> None:
        self._strategy = strategy
        self._sums: dict[Hashable, Callable[[list[tf.Tensor]], list[tf.Tensor]]] = {}
        resolver = strategy.cluster_resolver
        self.count = len(resolver.cluster_spec().as_dict().get("worker", ()))
        self.index = int(resolver.task_id)
        if strategy.num_replicas_in_sync != self.count:
            raise KerasxaiError(
                f"expected at most one GPU for each worker, got {strategy.num_replicas_in_sync} in {self.count} "
                "workers; start one worker for each GPU, with CUDA_VISIBLE_DEVICES"
            )

    @classmethod
    def connect(cls, addresses: Sequence[str] | None = None, index: int | None = None) -> Self:
        """Connect the processes; returns when all have been started.

        TensorFlow must not have been used before, since its server starts with its first operation.

        Args:
            addresses: HOST:PORT of each process, the same list everywhere; None for those in the environment variable
                TF_CONFIG.
            index: The position of this process in the list.

        Raises:
            KerasxaiError: The addresses are wrong, or TensorFlow was used before.

        Example:
            >>> workers = Workers.connect(["10.0.0.1:12345", "10.0.0.2:12345"], index=0)
        """
        if addresses is not None:
            cluster = {"worker": checked_workers(addresses, index)}
            os.environ["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})
        elif not os.environ.get("TF_CONFIG"):
            raise KerasxaiError("expected addresses or the environment variable TF_CONFIG, got neither")
        try:
            return cls(tf.distribute.MultiWorkerMirroredStrategy())
        except RuntimeError as error:
            raise KerasxaiError(
                f"cannot connect the workers: {error}; connect before any other use of TensorFlow"
            ) from error

    @property
    def is_chief(self) -> bool:
        """Whether this process runs the callbacks."""
        return self.index == 0

    def sum(self, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Return the sums of tensors over all processes; each must call it with the same shapes in the same order."""
        if tf.executing_eagerly():
            # Collectives that are run eagerly, one by one, are slow. A new lambda for each signature, since TensorFlow
            # warns of a Python function that is traced often.
            signature = tuple((tensor.dtype, tuple(tensor.shape)) for tensor in tensors)
            if signature not in self._sums:
                self._sums[signature] = tf.function(lambda given: self._in_replica(given), autograph=False)
            with _named_loss():
                return list(self._sums[signature](list(tensors)))
        return list(self._in_replica(list(tensors)))

    def _in_replica(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        return self._strategy.run(_summed, args=(tensors,))

    def share(self, content: bytes | None) -> bytes:
        """Return what the chief gives; a worker gives None.

        Example:
            >>> workers.share(b"hello" if workers.is_chief else None)
            b'hello'
        """
        given = content if self.is_chief and content is not None else b""
        length = int(self.sum([tf.constant(len(given), tf.int64)])[0])
        if not length:
            return b""
        # Four bytes in a number, and zeros from all but the chief.
        numbers = np.zeros(-(-length // 4), np.int32)
        if given:
            numbers = np.frombuffer(given.ljust(4 * len(numbers), b"\0"), np.int32)
        return self.sum([tf.constant(numbers)])[0].numpy().tobytes()[:length]

    def rows(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """Return this process' rows of each batch; all processes must read the same batches.

        Args:
            batches: Batches of at least as many rows as there are processes.
        """

        def own(*batch: Any) -> Any:
            count = tf.shape(tf.nest.flatten(batch)[0])[0]
            tf.debugging.assert_greater_equal(count, self.count, "a batch has fewer rows than there are workers")
            start, stop = count * self.index // self.count, count * (self.index + 1) // self.count
            taken = tf.nest.map_structure(lambda values: values[start:stop], batch)
            return taken if len(taken) > 1 else taken[0]

        return batches.map(own, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


@contextlib.contextmanager
def _named_loss() -> Iterator[None]:
    """Report a worker that is gone in one line."""
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError) as error:
        reason = str(error.message).splitlines()[0]
        raise KerasxaiError(f"cannot reach all workers: {reason}; start all of them again to go on") from error


def _summed(values: list[tf.Tensor]) -> list[tf.Tensor]:
    """Return the sums of tensors over all replicas, in the order of the tensors."""
    context = tf.distribute.get_replica_context()
    sums: dict[int, tf.Tensor] = {}
    # TensorFlow joins the tensors of one call, which must have one type.
    for dtype in dict.fromkeys(value.dtype for value in values):
        numbers = [number for number, value in enumerate(values) if value.dtype == dtype]
        # The copies are on the device of the replica; a tensor of Keras' step has no device, and is refused.
        copies = [tf.identity(values[number]) for number in numbers]
        sums |= zip(numbers, context.all_reduce(tf.distribute.ReduceOp.SUM, copies), strict=True)
    return [sums[number] for number in range(len(values))]


# Any: the options and the history are those of `keras.Model.fit`.
def fit(
    model: keras.Model,
    workers: Workers,
    batches: tf.data.Dataset,
    *,
    validation_data: Any = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: int | str = "auto",
    **options: Any,
) -> keras.callbacks.History:
    """Train a model as `model.fit` does, with the rows of each batch spread over the workers.

    All processes call it with the same compiled model, data and options, and have the same weights afterwards, to the
    bit: those of one process with the whole batch, to within rounding, for a model without batch normalization in
    training mode and without dropout. Batch normalization sees the rows of its process, and its moving statistics are
    the means over the processes; dropout draws for the rows of its process.

    Callbacks and validation run in the chief alone while the others wait. What a callback changes at the end of an
    epoch holds everywhere: weights, learning rate, `stop_training`; one that stops the training within an epoch stops
    it at the end of the epoch. `keras.callbacks.BackupAndRestore` continues a training that was killed. If one process
    ends, the others end with an error; start all of them again.

    Args:
        model: A compiled model, made outside of any strategy. In the chief it may have been trained or loaded before:
            its variables are those that all begin with.
        workers: The processes.
        batches: Batches, the same in each process, of at least as many rows as there are processes. An epoch must have
            a known number of them, or `steps_per_epoch` must be given.
        validation_data: As for `keras.Model.fit`.
        callbacks: As for `keras.Model.fit`.
        verbose: As for `keras.Model.fit`.
        **options: As for `keras.Model.fit`.

    Returns:
        The history; that of the chief has the validation figures.

    Raises:
        KerasxaiError: The length of an epoch is not known, the model runs several steps at a time, or another process
            has ended.
    """
    if model.steps_per_execution != 1:
        raise KerasxaiError(f"steps_per_execution must be 1 with workers, got {model.steps_per_execution}")
    own = list(callbacks) if workers.is_chief else []
    build_training_state(model, batches)
    with _averaged_gradients(model, workers), _named_loss():
        return model.fit(
            workers.rows(batches),
            validation_data=validation_data if workers.is_chief else None,
            callbacks=[_SumMetrics(workers), *own, _ShareState(workers)],
            verbose=verbose if workers.is_chief else 0,
            **options,
        )


@contextlib.contextmanager
def _averaged_gradients(model: keras.Model, workers: Workers) -> Iterator[None]:
    """Let the training steps of a model apply the gradients of the whole batch."""
    optimizer = model.optimizer
    train_step, apply = model.train_step, optimizer.apply
    rows: list[tf.Tensor] = []

    def step(data: Any) -> Any:
        rows[:] = [tf.cast(tf.shape(tf.nest.flatten(data)[0])[0], tf.float32)]
        return train_step(data)

    def apply_mean(grads: Sequence[tf.Tensor | None], variables: Sequence[keras.Variable] | None = None) -> None:
        # Each process has the mean over its rows: weighted by their number, the sum is the mean over all rows, also in
        # a last batch that does not divide evenly.
        dense = [None if grad is None else tf.convert_to_tensor(grad) for grad in grads]
        weighted = [grad * tf.cast(rows[0], grad.dtype) for grad in dense if grad is not None]
        *sums, total = workers.sum([*weighted, rows[0]])
        summed = iter(sums)
        mean = [None if grad is None else next(summed) / tf.cast(total, grad.dtype) for grad in dense]
        apply(mean, variables)

    with _replaced(model, "train_step", step), _replaced(optimizer, "apply", apply_mean):
        # A function that was traced before would apply the gradients of this process alone.
        model.train_function = None
        try:
            yield
        finally:
            model.train_function = None


@contextlib.contextmanager
def _replaced(owner: object, name: str, function: Callable[..., Any]) -> Iterator[None]:
    """Replace a method of one object."""
    # Not by `setattr`: Keras tracks the attributes of models and optimizers.
    vars(owner)[name] = function
    try:
        yield
    finally:
        del vars(owner)[name]


class _SumMetrics(keras.callbacks.Callback):
    """Makes the figures of an epoch those of all rows, and moving statistics those of all processes.

    It has to be the first callback: the others read the figures.
    """

    def __init__(self, workers: Workers) -> None:
        super().__init__()
        self._workers = workers

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Refuse an epoch of unknown length."""
        if self.params.get("steps") is None:
            raise KerasxaiError("expected batches of a known number with workers, got None; give steps_per_epoch")

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Sum and average after the last batch of an epoch, before Keras reads the figures and validates."""
        if batch + 1 < self.params["steps"]:
            return
        # Counts and sums, as those of Keras' metrics are; a mean of the processes' results would be wrong for most.
        metrics = [variable.value for variable in self.model.metrics_variables]
        totals = self._workers.sum([tf.convert_to_tensor(value) for value in metrics]) if metrics else []
        for variable, total in zip(metrics, totals, strict=True):
            variable.assign(total)
        # Linear in the batches, so that averaging once is averaging in each step. In double precision, in which the
        # mean of equal numbers is that number: frozen weights do not change.
        moving = [
            variable.value for variable in self.model.non_trainable_weights if tf.as_dtype(variable.dtype).is_floating
        ]
        totals = self._workers.sum([tf.cast(value, tf.float64) for value in moving]) if moving else []
        for variable, total in zip(moving, totals, strict=True):
            variable.assign(tf.cast(total / self._workers.count, variable.dtype))


class _ShareState(keras.callbacks.Callback):
    """Gives the variables of the chief to all, and lets all stop when the chief stops.

    It has to be the last callback: what the others change is shared.
    """

    def __init__(self, workers: Workers) -> None:
        super().__init__()
        self._workers = workers
        self._stops = False

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Let all begin with the variables and the epoch of the chief, which may have restored a backup."""
        if not self.model.optimizer.built:
            self.model.optimizer.build(self.model.trainable_variables)
        epoch = int(self._share()[0])
        if not self._workers.is_chief:
            self.model._initial_epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Put off a stop to the end of the epoch: the other processes would wait for the chief in the next step."""
        if self.model.stop_training and batch + 1 < self.params["steps"]:
            self.model.stop_training, self._stops = False, True

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Give the variables of the chief to all, and stop where it does."""
        self._stops |= self.model.stop_training
        self.model.stop_training = bool(self._share()[1])

    def _share(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Share all variables; return the first epoch of the chief, and whether it stops."""
        variables = [variable.value for variable in [*self.model.variables, *self.model.optimizer.variables]]
        first = getattr(self.model, "_initial_epoch", None) or 0
        flags = [tf.constant(first, tf.int64), tf.constant(int(self._stops), tf.int64)]
        # Sums to which the chief alone contributes.
        given = [_numbers(value) if self._workers.is_chief else tf.zeros_like(_numbers(value)) for value in variables]
        flags = flags if self._workers.is_chief else [tf.zeros_like(flag) for flag in flags]
        epoch, stops, *shared = self._workers.sum([*flags, *given])
        for variable, value in zip(variables, shared, strict=True):
            variable.assign(tf.cast(value, variable.dtype))
        return epoch, stops


def _numbers(value: tf.Tensor) -> tf.Tensor:
    """Return a variable's value in a type that can be summed over processes."""
    value = tf.convert_to_tensor(value)
    return value if value.dtype.is_floating or value.dtype in _WHOLE else tf.cast(value, tf.int64)
