"""The threshold of `kerasxai localize`: given, from an evaluation of the same model, or by a rule."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kerasxai.cli.localize_config import LocalizeConfig
from kerasxai.evaluation.found_thresholds import FoundThreshold, find_threshold, latest_threshold, misfits
from kerasxai.evaluation.method_rows import split_refinements
from kerasxai.evaluation.saved_results import differences
from kerasxai.localization import AUTO_RULE
from kerasxai.refinements import PRESETS, REFINEMENTS, RefinementChoice
from kerasxai.refinements.chain import COMMAS
from kerasxai.tools.commands import print_line
from kerasxai.tools.digests import model_identity
from kerasxai.tools.input_range import name_of_range
from kerasxai.tools.model_settings import is_model_name
from kerasxai.tools.printable import printable

_REPLACED = ("--method", "--refine", "--out")
"""Flags of an earlier evaluation that the suggested one does not repeat: figures in a folder are not replaced."""


class Resolved(NamedTuple):
    """A threshold of boxes.

    Attributes:
        threshold: As for `kerasxai.localization.chosen_threshold`.
        origin: A phrase about its origin.
        refinement: The choice of `refine="auto"` of the evaluation that it is from, for which alone it is right.
    """

    threshold: float | str
    origin: str
    refinement: RefinementChoice | None = None


def resolve_threshold(config: LocalizeConfig) -> Resolved:
    """Return the threshold of boxes."""
    if config.threshold != "auto":
        return Resolved(config.threshold, "given")
    folders = [Path() if is_model_name(config.model) else Path(config.model).parent]
    model, settings = model_identity(config.model), _settings(config)
    found = find_threshold(folders, model, settings)
    if found is not None:
        both = "" if found.refinement is None else f", with the refinement {found.refinement['auto']}"
        return Resolved(found.threshold, f"chosen on boxes by {found.file}{both}", found.refinement)
    latest = latest_threshold(folders, model)
    if latest is not None:
        return Resolved(AUTO_RULE, f"chosen for each image without boxes; {_left_out(latest, config, settings)}")
    refine = f" --refine {config.refine}" if config.refine else ""
    way = f"kerasxai evaluate{refine} chooses it on images with boxes"
    return Resolved(AUTO_RULE, f"chosen for each image without boxes; {way}")


def threshold_phrase(threshold: float | str) -> str:
    """Return a phrase about a threshold, as `resolve_threshold` returns it."""
    if isinstance(threshold, str):
        return f"thresholds by the rule {printable(threshold)}"
    return f"threshold {threshold:g} of the maximum"


def announce(config: LocalizeConfig, images: int, origin: str) -> None:
    """Print the work ahead on stderr: the images, the refinement and the threshold with its origin.

    Args:
        config: The settings, with the resolved threshold.
        images: How many images there are to do.
        origin: Where the threshold is from.
    """
    counted = f"{images} image" if images == 1 else f"{images} images"
    refined = f"with --refine {config.refine} ({_passes(config.refine)})" if config.refine else "without refinement"
    print_line(f"kerasxai localize: {counted} {printable(refined)}")
    if origin != "given":
        print_line(f"kerasxai localize: {threshold_phrase(config.threshold)} ({printable(origin)})")


def _settings(config: LocalizeConfig) -> dict[str, Any]:
    """Return the settings that an evaluation must share."""
    settings = {
        "method": config.method,
        "layer": config.layer,
        "refine": config.refine,
        "score": config.score,
        "outputs": config.outputs,
        "image_size": config.image_size,
        "preprocess": name_of_range(config.input_range),
        "method_options": dict(config.option),
    }
    # Through JSON, as the settings of an evaluation were: tuples become lists.
    plain: dict[str, Any] = json.loads(json.dumps(settings, default=str))
    return plain


def _passes(refine: str) -> str:
    """Return what a chain of refinements costs, by the table of refinements."""
    names = [part.strip().split(":")[0] for part in COMMAS.split(refine)]
    steps = [step for name in names for step in PRESETS.get(name, name).split(",") if step in REFINEMENTS]
    costs = {step: REFINEMENTS[step].cost for step in steps}
    each = costs[steps[0]] if len(steps) == 1 else ", ".join(f"{step} {cost}" for step, cost in costs.items())
    return f"more forward passes an image: {each}; --refine none takes none and is faster"


def _left_out(found: FoundThreshold, config: LocalizeConfig, settings: dict[str, Any]) -> str:
    """Return why a threshold that an evaluation has chosen is not used, and the command that chooses one."""
    names = misfits(found, settings)
    before = {name: found.settings.get(name) for name in names}
    text = f"the threshold {found.threshold:.3f} of {found.file} is not used: "
    if not {"method", "refine"}.issuperset(names):
        now = {name: settings[name] for name in names}
        return text + f"its settings are others ({'; '.join(differences(before, now))})"
    of_both = [" ".join(f"--{name} {values.get(name) or 'none'}" for name in names) for values in (before, settings)]
    return text + f"it is for {of_both[0]}, not for {of_both[1]}; to choose one: {_command(found, config, names)}"


def _command(found: FoundThreshold, config: LocalizeConfig, names: Sequence[str]) -> str:
    """Return the command of an evaluation for the method and the refinement of the boxes."""
    refine = config.refine or "none"
    if names == ["refine"]:
        former = found.settings.get("refine")
        both = f"{former or 'none'},{refine}"
        # Two chains have no separator: the former one is left out.
        refine = both if split_refinements(both) == [former, config.refine] else refine
    flags = ["--method", config.method] if config.method != "cam" else []
    return shlex.join([*_repeated(found, config.model), *flags, "--refine", refine])


def _repeated(found: FoundThreshold, model: str) -> list[str]:
    """Return the words of the command of an evaluation without `_REPLACED`, or those that its settings suggest."""
    words = [] if "$'" in found.command else shlex.split(found.command)
    if words[:2] != ["kerasxai", "evaluate"]:
        boxes = found.settings.get("boxes_csv")
        given = ["--data", str(found.settings.get("name_or_path", "DATA"))]
        return ["kerasxai", "evaluate", model, *given, *(["--boxes", str(boxes)] if boxes else [])]
    kept: list[str] = []
    for number, word in enumerate(words):
        if word.split("=")[0] not in _REPLACED and (number == 0 or words[number - 1] not in _REPLACED):
            kept.append(word)
    return kept
