"""The verdict on a suspect after its trial, and its words."""

from dataclasses import asdict, dataclass
from typing import Any

from scipy import stats

from kerasxai.audit.shortcuts.scene import Scene
from kerasxai.audit.shortcuts.suspects import Suspect
from kerasxai.audit.shortcuts.trial import Trial
from kerasxai.tools.printable import percent, printable

_MOST_P = 0.01
_LEAST_EVIDENCE = (0.01, 0.02, 0.3)
"""By exactness: of the same pixels, of colors, shade or texture, of heatmaps alone."""
_CLASSES_A_RANK = 6

_WORDS = {
    "border": "a border",
    "corner": "a mark in a corner",
    "strip": "a strip along an edge",
    "place": "a mark at a constant place",
    "overlay": "a faint structure at a constant place",
    "shade": "a smooth shade or tint of parts of the image",
    "color": "the colors of the whole image",
    "patch": "a patch that is somewhere in each image",
    "evidence": "a place that the heatmaps share",
}


@dataclass(frozen=True)
class TriedSuspect:
    """A suspect with its trial.

    Attributes:
        suspect: The suspect.
        trial: What the interventions did.
        confirmed: Whether they confirm it.
        reason: Why not; empty if they do.
    """

    suspect: Suspect
    trial: Trial
    confirmed: bool
    reason: str


def judged(suspect: Suspect, trial: Trial, trials: int, classes: int, objects_known: bool) -> TriedSuspect:
    """Decide whether a trial confirms a suspect.

    The mark must raise the class in other images more than the same place of other images does, with `p < 0.01` after
    Bonferroni's correction; by 1 % of the evidence that separates the class from the others, 2 % for colors or
    textures, or 30 % for a place that only heatmaps suggest, whose pixels need not be alike; and no more than a sixth
    of the other classes may rise more. The shares are small because a model fits its training images closely.
    Colors and textures change the object too, so that removing them must lower the class as well; there `p` is that of
    the rise and the fall together, by Fisher's method: they are of different images.

    Args:
        suspect: The suspect.
        trial: Its trial.
        trials: How many suspects are tested.
        classes: The number of classes.
        objects_known: Whether boxes or masks are known; without them, a repeated patch may be a part of the object.
    """
    least = _LEAST_EVIDENCE[suspect.exactness]
    changes_objects = suspect.exactness == 1
    chance = trial.p_value
    if changes_objects:
        chance = float(stats.combine_pvalues([trial.p_value, trial.fall_p_value]).pvalue)
    changed = "planting it raises and removing it lowers" if changes_objects else "planting it raises"
    unknown = suspect.kind == "patch" and not objects_known
    reasons = [
        (unknown, "without boxes or masks it may be a part of the object"),
        (chance * trials >= _MOST_P, f"{changed} the class no more than the control does"),
        (trial.evidence < least, f"it brings less than {percent(least)} of the evidence for the class"),
        (changes_objects and trial.removed_evidence <= 0, "removing it does not lower the class"),
        (trial.rank > classes // _CLASSES_A_RANK, "it raises other classes more"),
        (trial.rise <= trial.control_rise, "planting it does not raise the probability of the class"),
    ]
    reason = next((text for holds, text in reasons if holds), "")
    return TriedSuspect(suspect, trial, not reason, reason)


def record(scene: Scene, tested: TriedSuspect) -> dict[str, Any]:
    """Return a tested suspect for JSON."""
    suspect, trial = tested.suspect, tested.trial
    figures = {
        name: round(value, 4) if isinstance(value, float) else value
        for name, value in asdict(trial).items()
        if name != "hosts"
    }
    return {
        "class": scene.class_names[suspect.class_number],
        "kind": suspect.kind,
        "share_of_class": round(suspect.own_share, 3),
        "share_of_others": round(suspect.other_share, 3),
        "images": len(suspect.members),
        **figures,
        **suspect.figures,
        "sentence": sentence(scene, tested),
    }


def sentence(scene: Scene, tested: TriedSuspect) -> str:
    """Return a tested suspect in words."""
    suspect, trial = tested.suspect, tested.trial
    name = printable(scene.class_names[suspect.class_number])
    shares = f"in {percent(suspect.own_share)} of its images and {percent(suspect.other_share)} of others"
    effect = (
        f"planted into images of other classes it raises the probability of {name} by {trial.rise:.3f} "
        f"(control {trial.control_rise:.3f}), {percent(trial.evidence)} of the evidence that separates the class; "
        f"removing it lowers the probability by {trial.fall:.3f} (control {trial.control_fall:.3f})"
    )
    return f"{name}: {_WORDS[suspect.kind]}, {shares}; {effect}" + (
        f"; not confirmed: {tested.reason}" if tested.reason else ""
    )
