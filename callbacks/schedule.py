"""The epochs of a callback: which are due, and the figures of those that were."""

import weakref

import keras


def is_due(done: int, every: int, epochs: int | None) -> bool:
    """Return whether an epoch is due: every n-th and the last planned one."""
    return done % every == 0 or done == epochs


def epoch_title(done: int) -> str:
    """Return what pictures call the state after `done` epochs."""
    return "before training" if done == 0 else f"after epoch {done}"


class Results(dict[int, dict[str, float]]):
    """Figures by the number of completed epochs, of one training and those that it continues."""

    # Weak: the results of a finished training must not keep its model in memory.
    _model: "weakref.ref[keras.Model] | None" = None

    def begin(self, model: keras.Model, epoch: int) -> None:
        """Remove figures that do not belong to a training of `model` that continues after `epoch` epochs."""
        same = self._model is not None and self._model() is model
        for done in [done for done in self if not same or done > epoch or epoch == 0]:
            del self[done]
        self._model = weakref.ref(model)
