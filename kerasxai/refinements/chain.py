"""Chains of refinements: how they are written, checked and put after a method."""

import inspect
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kerasxai.refinements import PRESETS, REFINEMENTS, Refinement
from kerasxai.tools.commands import parse_option
from kerasxai.tools.errors import KerasxaiError, unknown

Explain = Callable[[Any, Any], NDArray]
_COMMAS = re.compile(r",(?![^\[(]*[\])])")
"""Commas between steps, not those within a list that is an option's value."""


@dataclass(frozen=True)
class Step:
    """One refinement of a chain with its options; one of a preset is left out where it cannot work."""

    row: Refinement
    options: dict[str, Any] = field(default_factory=dict)
    of_preset: bool = False


def parsed(refine: Any) -> tuple[Step, ...]:
    """Reads a chain of refinements.

    Args:
        refine: None; names with commas between, `"flip,walker"`, each perhaps with options, `"walker:beta=90:low=0.2"`;
            a list of such; or a dict from names to dicts of options, in the order of the chain. A name is one of
            REFINEMENTS or of PRESETS.

    Returns:
        The steps, in the order in which they are done.

    Raises:
        KerasxaiError: An unknown name or option.

    Example:
        >>> [step.row.name for step in parsed("flip,walker:beta=90")]
        ['flip', 'walker']
    """
    if refine is None:
        return ()
    if isinstance(refine, str):
        refine = [part for part in _COMMAS.split(refine) if part.strip()]
    if isinstance(refine, dict):
        pairs = list(refine.items())
    elif isinstance(refine, (list, tuple)) and all(isinstance(part, str) for part in refine):
        pairs = [_named(part) for part in refine]
    else:
        raise KerasxaiError(
            "refine must be names such as 'flip,walker:beta=90', a list of them, or a dict {name: {option: value}}, "
            f"not {refine!r}"
        )
    return tuple(step for name, options in pairs for step in _steps(name, options))


def _named(text: str) -> tuple[str, dict[str, Any]]:
    name, *settings = text.strip().split(":")
    try:
        return name, dict(parse_option(setting) for setting in settings)
    except Exception as error:
        raise KerasxaiError(f"a refinement is written NAME or NAME:OPTION=VALUE, not {text!r}") from error


def _steps(name: str, options: Any) -> list[Step]:
    if name in PRESETS:
        if options:
            raise KerasxaiError(f"{name} is a preset and takes no options; write its chain out: {PRESETS[name]}")
        return [Step(step.row, step.options, True) for step in parsed(PRESETS[name])]
    if name not in REFINEMENTS:
        raise unknown("refinement", name, [*PRESETS, *REFINEMENTS])
    row = REFINEMENTS[name]
    parameters = inspect.signature(row.function).parameters.values()
    known = [p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]
    for option in options or {}:
        if option not in known:
            raise unknown(f"option of {name}", option, known or ["none"])
    return [Step(row, dict(options or {}))]


def checked_for(model: Any, steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Returns the steps that a model allows.

    Raises:
        KerasxaiError: A step looks into a Keras model, the model is only a function, and no preset named the step.
    """
    if isinstance(model, keras.layers.Layer):
        return steps
    for step in steps:
        if step.row.needs == "model" and not step.of_preset:
            raise KerasxaiError(f"{step.row.name} looks inside a Keras model, and {type(model).__name__} is none")
    return tuple(step for step in steps if step.row.needs != "model")


def refined(steps: tuple[Step, ...], view: Any, explain: Explain, images: NDArray, targets: NDArray) -> NDArray:
    """Explains a batch through a chain of refinements.

    Args:
        steps: Of `parsed`.
        view: The model, as `kerasxai.engine.traced_model.TracedModel` shows it.
        explain: The method: `(images, targets) -> heatmaps` at image size.
        images: `(N, H, W, C)`.
        targets: `(N,)` int64; negative for the predicted class, which is found once, of the images as they are.

    Returns:
        `(N, H, W)` float32.
    """
    count = len(images)

    def of_copies(images: Any, targets: Any) -> NDArray:
        with view.repeated(math.ceil(len(images) / count), count):
            return explain(np.ascontiguousarray(images), targets)

    asked: Explain = explain
    if any(step.row.needs in ("method", "model") for step in steps):
        first = explain(images, targets)  # Tells of the images as they are, and which class is explained.
        targets = np.asarray(view.notes["targets"])
        asked = _remembering(view, of_copies, images, first)
    for step in steps:
        asked = _after(step, view, asked)
    return np.asarray(asked(images, targets), np.float32)


def _remembering(view: Any, explain: Explain, images: NDArray, heatmaps: NDArray) -> Explain:
    """Spares the method a second look at images that it has explained."""

    def remembered(asked: Any, targets: Any) -> NDArray:
        return heatmaps if asked is images and view.altered is None else explain(asked, targets)

    return remembered


def _after(step: Step, view: Any, explain: Explain) -> Explain:
    """Returns the method that a refinement makes of a method."""
    function, options = step.row.function, step.options

    def done(images: Any, targets: Any) -> NDArray:
        match step.row.needs:
            case "heatmap":
                return function(explain(images, targets), **options)
            case "image":
                return function(explain(images, targets), images, **options)
            case "method":
                return function(explain, images, targets, **options)
            case _:
                return function(view, explain, images, targets, **options)

    def forgiving(images: Any, targets: Any) -> NDArray:
        try:
            return done(images, targets)
        except KerasxaiError as error:
            heatmaps = explain(images, targets)
            view.note(**{f"without_{step.row.name}": str(error)})
            return heatmaps

    return forgiving if step.of_preset else done
