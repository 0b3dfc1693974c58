"""Whether the outputs of a classifier are logits or probabilities, and its predictions.

This is a fact about a model. It is read from the traced graph (see `kerasxai.engine.scores.read_classes`) or declared
by the user. Only for plain functions and for models that hide how they compute is it guessed from values, and a guess
that images contradict is an error: the explanation of one image must not depend on the rest of the batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kerasxai.tools.errors import KerasxaiError, unknown
from kerasxai.tools.model_settings import OUTPUTS
from kerasxai.tools.options import choice

_REMEDY = 'outputs="logits" or outputs="probabilities" says which'


@dataclass(frozen=True)
class Predictions:
    """The scores and the probabilities of all classes; of a model with a single unit those of class 0 and class 1.

    Attributes:
        scores: `(N, C)` float32, what classes are ranked by: logits, or probabilities where a model has no logits.
        probabilities: `(N, C)` float32, the model's own. Those of several sigmoids do not add up to 1.
    """

    scores: NDArray[np.float32]
    probabilities: NDArray[np.float32]

    @property
    def classes(self) -> NDArray[np.int64]:
        """The predicted classes, `(N,)`."""
        return self.ranked(1)[:, 0]

    def ranked(self, top: int) -> NDArray[np.int64]:
        """Returns the `(N, top)` classes of highest score, the highest first; of equal ones the lower class first.

        Scores rank classes rather than probabilities, many of which may be rounded to 1.0.
        """
        return np.argsort(-self.scores, axis=-1, kind="stable")[:, :top]


class OutputKind:
    """The known or guessed kind of the outputs of one model.

    Args:
        declared: `"logits"` or `"probabilities"`, as the user says, or None.

    Attributes:
        kind: What the traced graph shows, see `kerasxai.engine.scores.ClassScores`; None before the first trace.
        units: How many outputs there are for each image; None before the first trace.
        of_function: Whether they are outputs of a plain function.
        guessed: What the values of the first images suggest, where the graph shows nothing.
        warnings: What the user should know, in the order of notice.
    """

    def __init__(self, declared: str | None = None) -> None:
        self.declared = None if declared is None else choice("value of outputs", declared, OUTPUTS)
        self.kind: str | None = None
        self.units: int | None = None
        self.of_function = False
        self.guessed: str | None = None
        self.warnings: list[str] = []

    @property
    def taken(self) -> str | None:
        """The declared or guessed kind, None if neither."""
        return self.declared or self.guessed

    def find_out(self, inside: NDArray[np.bool_], adds_up: NDArray[np.bool_], depends: bool, chooses: bool) -> bool:
        """Compares outputs with the kind that is assumed, and guesses it if the answer depends on it.

        Args:
            inside: For each image, whether all its outputs are in [0, 1].
            adds_up: For each image, whether its outputs could be a distribution.
            depends: Whether the answer depends on what the outputs are.
            chooses: Whether the predicted class does.

        Returns:
            Whether a guess was made just now.

        Raises:
            KerasxaiError: See `check`; or some images suggest one thing and some the other.
        """
        if depends and self._settle(inside):
            return True
        self.check(inside, chooses)
        if self.taken is None:
            likely = inside.all() and self.kind == "unknown" and not self.of_function
            if self.kind == "probabilities" or likely:
                self.warn(UNDOABLE)
            if self.kind == "logits" and adds_up.all():
                self.warn(ALIKE)
        if self.kind == "softmax" and self.units == 1:
            self.warn(ALWAYS_ONE)
        return False

    def _settle(self, inside: NDArray[np.bool_]) -> bool:
        if self.taken is not None or self.kind != "unknown":
            return False
        if inside.any() and not inside.all():
            raise _mixed()
        # No image decides alone: either all of a batch suggest the same, or none is explained.
        self.guessed = "probabilities" if inside.all() else "logits"
        place = "lie in [0, 1]" if inside.all() else "leave [0, 1]"
        if self.guessed == "logits" and self.units != 1:
            # Values outside of [0, 1] prove logits, so that no warning is due; a single unit is the exception.
            return True
        self.warn(
            f"nothing shows whether the outputs of this model are logits or probabilities; they {place} and are taken "
            f"for {self.guessed}; {_REMEDY}"
        )
        return True

    def check(self, inside: NDArray[np.bool_], chooses: bool) -> None:
        """Compares outputs with the kind that is assumed.

        Args:
            inside: For each image, whether all its outputs are in [0, 1].
            chooses: Whether the predicted class depends on what the outputs are.

        Raises:
            KerasxaiError: They are taken for probabilities and leave [0, 1], or only other images suggest that they
                are logits.
        """
        if self.guessed and bool(chooses and inside.any() if self.guessed == "logits" else not inside.all()):
            raise _mixed()
        if self.declared == "probabilities" and not inside.all():
            raise KerasxaiError(
                'expected outputs in [0, 1], got others; outputs="probabilities" is wrong for this model, whose '
                "outputs may be logits"
            )

    def warn(self, text: str) -> None:
        """Adds a warning, once."""
        if text not in self.warnings:
            self.warnings.append(text)


def _mixed() -> KerasxaiError:
    return KerasxaiError(
        "expected outputs that are all probabilities in [0, 1] or all logits beyond, got both; "
        f"nothing shows what they are: {_REMEDY}"
    )


UNDOABLE = (
    "the model's outputs look like probabilities, and no final softmax or sigmoid was found to undo: "
    "probabilities are explained, whose gradients vanish where the model is sure; "
    'outputs="probabilities" says that this is known'
)
ALIKE = (
    "the model's outputs look like probabilities, although its last operation is one that gives logits; they are taken "
    f"for logits; {_REMEDY}"
)
ALWAYS_ONE = (
    "the model ends in a softmax over a single unit, which is 1.0 for every image: class 1 is always predicted; "
    "use a sigmoid, or a softmax over two units"
)


def class_index(text: str, classes: Sequence[str] | None, count: int | None = None) -> int:
    """Returns the class with a name or a number; a name wins if classes have numbers for names.

    Args:
        text: The name or number.
        classes: The names of the classes, or None where the model has none.
        count: How many classes there are, if known.

    Raises:
        KerasxaiError: There is no such class, or several have the name.

    Example:
        >>> class_index("10", ["1", "2", "10"])
        2
    """
    text = text.strip()
    names = list(classes or ())
    for same in (names, [name.lower() for name in names]):
        found = [index for index, name in enumerate(same) if name == (text if same is names else text.lower())]
        if len(found) > 1:
            raise KerasxaiError(
                f"expected the name of one class, got {text!r}, the name of classes {', '.join(map(str, found))}"
            )
        if found:
            return found[0]
    if not (text.isascii() and text.isdecimal()):
        if not names:
            raise KerasxaiError(
                f"expected the number of a class, got {text!r}; the model carries no class names: "
                "--class-names gives them (kerasxai.models.set_class_names in Python)"
            )
        raise unknown("class", text, names)
    count = len(names) or count
    if count and int(text) >= count:
        raise KerasxaiError(f"target must be from 0 to {count - 1}, got {text}; the model has {count} classes")
    return int(text)


def class_label(target: int, names: Sequence[str] | None) -> str:
    """Returns the name of a class, or "class 3" where it has none.

    Example:
        >>> class_label(3, None)
        'class 3'
    """
    return names[target] if names and 0 <= target < len(names) else f"class {target}"


def class_count(model: object) -> int | None:
    """Returns how many classes a model with one output `(batch, classes)` has, 2 for a single unit; else None."""
    shape = getattr(model, "output_shape", None)
    if not isinstance(shape, tuple) or len(shape) != 2 or not isinstance(shape[1], int):
        return None
    return max(2, shape[1])
