"""The refinements that suit a model: the preset "best" if it recognizes enlarged images, else a graph cut alone."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kerasxai.engine.outputs.checks import all_classes
from kerasxai.refinements import RefinementChoice
from kerasxai.refinements.sizes import enlarged, training_share
from kerasxai.tools.errors import KerasxaiError, NotFiniteError

if TYPE_CHECKING:
    from kerasxai.engine.samples import Samples
    from kerasxai.engine.traced_model import TracedModel
    from kerasxai.refinements.chain import ModelExplain

_LOG = logging.getLogger(__name__)

FACTOR = 1.5
ENOUGH, MOST = 8, 32
"""From how many images on the choice is final, and how many of a batch it looks at."""
AGREEMENT = 0.25
"""The agreement from which `best` is chosen: networks that recognize enlarged images have 0.6 and more, others 0."""
_BEST, _OTHERWISE = "best", "graphcut"
"""The preset for models that recognize enlarged images; for others a chain that looks at colors, not at the model."""
_KEY = ("auto",)
_OF_SEVERAL: RefinementChoice = {
    "auto": _OTHERWISE,
    "without_best": "images of this model may have objects of several classes",
}


@dataclass
class Recognition:
    """The predicted classes of images and of the enlarged images.

    Attributes:
        classes: How many classes the model has.
        before: The predictions for the images.
        after: Those for the enlarged images.
        is_final: Whether the images were given for the choice, so that those of later calls do not change it.
        fixed: The choice, if it does not follow from the predictions.
    """

    classes: int = 0
    before: list[int] = field(default_factory=list)
    after: list[int] = field(default_factory=list)
    is_final: bool = False
    fixed: RefinementChoice | None = None

    def choice(self) -> RefinementChoice:
        """Return the choice."""
        if self.fixed is not None:
            return self.fixed
        agreement = self.agreement()
        return {"auto": _BEST if agreement >= AGREEMENT else _OTHERWISE, "agreement": agreement}

    def agreement(self) -> float:
        """Return the share of equal predictions beyond chance, 1 for all and about 0 for chance.

        Cohen's kappa (1960, doi:10.1177/001316446002000104), where chance is at least one in the number of classes, and
        exactly that if all images are predicted to be of one class.
        """
        before, after = np.array(self.before), np.array(self.after)
        chance, names = 1 / self.classes, np.unique(before)
        if len(names) > 1:
            chance = max(chance, sum(float((before == name).mean() * (after == name).mean()) for name in names))
        return float(((before == after).mean() - chance) / (1 - chance)) if chance < 1 else 0.0


def auto(model: TracedModel, explain: ModelExplain, batch: Samples) -> NDArray[np.float32]:
    """The preset `"best"` for models that recognize enlarged images, and the graph cut alone for all others.

    `best` shows the network each image at 1.5 and 2 times its size. Networks trained on photographs recognize objects
    of many sizes, and their maps get better; to a network that knows its objects by textures of one size, enlarged
    images are another thing, and its maps of them are worse. Which of the two it is shows without any box: by the
    share of images that are predicted to be of the same class when they are enlarged by 1.5, beyond chance. The choice
    is made for the model, not for single images, on the images of the first batch, up to 32. If these are fewer than 8
    it is uncertain, and made again with those of the next batch. `Explainer.choose_refinement` makes it on images that
    are given to it. An explainer keeps it, also if weights change.

    For a model with a sigmoid for each of several classes it is the graph cut as well: the discriminant of `best`
    separates objects from background, not from objects of other classes in the same image.

    Notes: `auto`, `"best"` or `"graphcut"`, and `agreement`, or `without_best`, the reason against `best`.

    Args:
        model: The model.
        explain: The method.
        batch: The images and their classes.

    Returns:
        `(N, H, W)` float32.

    Example:
        >>> kerasxai.Explainer(model, "cam", refine="auto")(images).notes["auto"]
        'best'
    """
    from kerasxai.refinements.chain import chained

    choice = _chosen(model, batch)
    model.record(**choice)
    return chained(str(choice["auto"]), explain)(model, batch)


def observe(model: TracedModel, batch: Samples) -> None:
    """Predict images for the choice of `auto`, which is then made on these and not on those that are explained.

    Images without finite numbers are left out.

    Args:
        model: The model.
        batch: The images, in addition to those of earlier calls.
    """
    known = _recognition(model)
    # Predictions of several calls count together, but not those after a choice that was set.
    found = known if known.is_final and known.fixed is None else Recognition(is_final=True)
    try:
        if not _is_of_several_labels(model):
            _predict(model, batch, found)
    except NotFiniteError:
        for row in range(len(batch) if len(batch) > 1 else 0):
            observe(model, batch.take(slice(row, row + 1)))
        return
    except KerasxaiError as error:
        found.fixed = _refused(error)
    # Again, because the kind of the outputs is unknown before the first pass.
    if _is_of_several_labels(model):
        found.fixed = _OF_SEVERAL
    vars(known).update(vars(found))


def choice_of(model: TracedModel) -> RefinementChoice | None:
    """Return the choice of `auto` on given images, or None before it is made."""
    known = model.learned.get(_KEY)
    return known.choice() if isinstance(known, Recognition) and known.is_final else None


def set_choice(model: TracedModel, choice: RefinementChoice) -> None:
    """Let `auto` repeat a choice.

    Raises:
        KerasxaiError: It is not one of its choices.
    """
    if choice.get("auto") not in (_BEST, _OTHERWISE):
        raise KerasxaiError(f'expected a choice of refine="auto", {_BEST} or {_OTHERWISE}, got {choice!r}')
    model.learned[_KEY] = Recognition(is_final=True, fixed=choice)


def choice_without(images: int) -> RefinementChoice:
    """Return the choice if none of so many images could be predicted."""
    return {"auto": _OTHERWISE, "without_best": f"none of the {images} images for the choice can be predicted"}


def announce_choice(images: int) -> None:
    """Log that a choice is made on so many images, because it takes as long as explaining them."""
    _LOG.info("choosing the refinement on %d %s", images, "image" if images == 1 else "images")


def _refused(error: KerasxaiError) -> RefinementChoice:
    return {"auto": _OTHERWISE, "without_best": str(error)}


def _is_of_several_labels(model: TracedModel) -> bool:
    return model.outputs.kind == "sigmoid" and (model.outputs.units or 1) > 1


def _chosen(model: TracedModel, batch: Samples) -> RefinementChoice:
    """Return the choice on the images so far, after those of the batch were added if they are too few."""
    if _is_of_several_labels(model):
        return _OF_SEVERAL
    known = _recognition(model)
    if not known.is_final and len(known.before) < ENOUGH:
        try:
            _predict(model, batch.take(slice(MOST)), known)
        except KerasxaiError as error:
            return _refused(error)
    return known.choice()


def _recognition(model: TracedModel) -> Recognition:
    known = model.learned.setdefault((*_KEY, *(alteration.name for alteration in model.alterations)), Recognition())
    # A choice on given images is for altered copies as well.
    given = model.learned.get(_KEY)
    if isinstance(given, Recognition) and given.is_final:
        return given
    assert isinstance(known, Recognition)
    return known


def _predict(model: TracedModel, batch: Samples, known: Recognition) -> None:
    """Add the predictions for images, and for the enlarged images, to those that are known."""
    with enlarged(model, batch, FACTOR * training_share(model.model)) as (larger, scaled):
        pair = [
            one.for_copies().evaluate(all_classes, images.as_floats()).all_scores.numpy()
            for one, images in ((model, batch), (larger, scaled))
        ]
    known.classes = max(2, pair[0].shape[1])
    before, after = ([int(scores.argmax()) for scores in rows] for rows in pair)
    known.before += before
    known.after += after
