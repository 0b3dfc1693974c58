"""Chains of refinements: how they are parsed, checked and applied after a method."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import keras
import numpy as np
from numpy.typing import NDArray

from kerasxai.refinements import PRESETS, REFINEMENTS, Refinement
from kerasxai.tools.commands import parse_option
from kerasxai.tools.errors import KerasxaiError, unknown

if TYPE_CHECKING:
    from kerasxai.engine.samples import Samples
    from kerasxai.engine.score_model import ScoreModel

Refine: TypeAlias = "str | Sequence[str] | Mapping[str, Mapping[str, Any]] | None"
"""A chain of refinements; see `parsed`."""
ModelExplain: TypeAlias = "Callable[[ScoreModel, Samples], NDArray[Any]]"
"""A method: heatmaps `(B, H, W)` at image size of a batch."""
COMMAS = re.compile(r",(?![^\[(]*[\])])")
"""Commas between steps, not those within a list that is an option's value."""


@dataclass(frozen=True)
class Step:
    """One refinement of a chain with its options; an optional step, as those of presets, is skipped if impossible."""

    row: Refinement
    options: dict[str, Any] = field(default_factory=dict)
    optional: bool = False


def parsed(refine: Refine) -> tuple[Step, ...]:
    """Parse a chain of refinements.

    Args:
        refine: None; names with commas between, `"flip,walker"`, each perhaps with options, `"walker:beta=90:low=0.2"`;
            a list of such; or a dict from names to dicts of options, in the order of the chain. A name is one of
            REFINEMENTS or of PRESETS.

    Returns:
        The steps, in the order of the chain.

    Raises:
        KerasxaiError: An unknown name or option.

    Example:
        >>> [step.row.name for step in parsed("flip,walker:beta=90")]
        ['flip', 'walker']
    """
    if refine is None:
        return ()
    if isinstance(refine, str):
        refine = [part for part in COMMAS.split(refine) if part.strip()]
    if isinstance(refine, dict):
        pairs = list(refine.items())
    elif isinstance(refine, (list, tuple)) and all(isinstance(part, str) for part in refine):
        pairs = [_named(part) for part in refine]
    else:
        raise KerasxaiError(
            "refine must be names such as 'flip,walker:beta=90', a list of them, or a dict {name: {option: value}}, "
            f"got {refine!r}"
        )
    return tuple(step for name, options in pairs for step in _steps(name, options))


def _named(text: str) -> tuple[str, dict[str, Any]]:
    name, *settings = text.strip().split(":")
    try:
        return name, dict(parse_option(setting) for setting in settings)
    except Exception as error:
        raise KerasxaiError(f"expected a refinement as NAME or NAME:OPTION=VALUE, got {text!r}") from error


def _steps(name: str, options: Mapping[str, Any] | None) -> list[Step]:
    if name in PRESETS:
        if options:
            raise KerasxaiError(
                f"expected no options for the preset {name}, got {', '.join(options)}; use its chain {PRESETS[name]}"
            )
        return [Step(step.row, step.options, True) for step in parsed(PRESETS[name])]
    if name not in REFINEMENTS:
        raise unknown("refinement", name, [*PRESETS, *REFINEMENTS])
    row = REFINEMENTS[name]
    parameters = inspect.signature(row.function).parameters.values()
    known = [p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]
    for option in options or {}:
        if option not in known:
            raise unknown(f"option of {name}", option, known or ["none"])
    return [Step(row, dict(options or {}), row.optional)]


def checked_for(model: keras.Model | Callable[..., Any], steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Return the steps that are possible with a model.

    Raises:
        KerasxaiError: A step needs a Keras model, the model is only a function, and the step is not of a preset.
    """
    if isinstance(model, keras.layers.Layer):
        return steps
    for step in steps:
        if step.row.needs == "model" and not step.optional:
            raise KerasxaiError(f"expected a Keras model for {step.row.name}, got {type(model).__name__}")
    return tuple(step for step in steps if step.row.needs != "model")


def refined(steps: tuple[Step, ...], explain: ModelExplain, model: ScoreModel, batch: Samples) -> NDArray[np.float32]:
    """Explain a batch through a chain of refinements.

    Args:
        steps: Of `parsed`.
        explain: The method.
        model: The model.
        batch: The images, with any targets; predicted classes are those of the unchanged images.

    Returns:
        `(B, H, W)` float32.
    """
    if any(step.row.needs in ("method", "model") for step in steps):
        heatmaps = explain(model, batch)
        batch = batch.with_targets(np.asarray(model.report.diagnostics["targets"]))
        explain = _remembering(explain, batch, heatmaps)
    for step in steps:
        explain = _after(step, explain)
    return np.asarray(explain(model, batch), np.float32)


def chained(refine: Refine, explain: ModelExplain) -> ModelExplain:
    """Return the method that explains with a method and then refines, for refinements that are made of others."""
    for step in parsed(refine):
        explain = _after(step, explain)
    return explain


def _remembering(explain: ModelExplain, batch: Samples, heatmaps: NDArray[Any]) -> ModelExplain:
    """Return the method without a second pass for the unchanged batch, and without diagnostics of changed copies."""

    def remembered(model: ScoreModel, changed: Samples) -> NDArray[Any]:
        if changed.images is batch.images and not model.alterations:
            return heatmaps
        copies = model.for_copies()
        try:
            return explain(copies, changed)
        finally:
            model.report.adopt(copies.report)

    return remembered


def _after(step: Step, explain: ModelExplain) -> ModelExplain:
    """Return the method that explains with a method and then refines."""
    function, options = step.row.function, step.options

    def refined_once(model: ScoreModel, batch: Samples) -> NDArray[Any]:
        def of_images(images: NDArray[Any], targets: NDArray[Any]) -> NDArray[Any]:
            if images is batch.images:
                return explain(model, batch)
            images = np.ascontiguousarray(images)
            copies = batch.tile(-(-len(images) // len(batch)), images).take(slice(len(images)))
            return explain(model, copies.with_images(images).with_targets(targets))

        match step.row.needs:
            case "heatmap":
                return function(explain(model, batch), **options)
            case "image":
                return function(explain(model, batch), np.asarray(batch.images), **options)
            case "method":
                return function(of_images, batch.images, batch.targets, **options)
            case _:
                return function(model, explain, batch, **options)

    def refined_if_possible(model: ScoreModel, batch: Samples) -> NDArray[Any]:
        try:
            return refined_once(model, batch)
        except KerasxaiError as error:
            heatmaps = explain(model, batch)
            model.record(**{f"without_{step.row.name}": str(error)})
            return heatmaps

    return refined_if_possible if step.optional else refined_once
