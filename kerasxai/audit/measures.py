"""MEASURES, the table of the measures of an audit. Nothing here imports TensorFlow."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kerasxai.tools.lazy import resolve


@dataclass(frozen=True)
class Measure:
    """One measure of an audit.

    Attributes:
        name: As the user writes it, and in `audit.json`.
        reference: `"module:function"` of `(images, maps, settings) -> {"values": (n,), ...}`, see `measuring`.
        heading: The column of tables.
        meaning: What the figure is, for readers of the page.
        higher_is_better: The direction; None if a figure is neither good nor bad.
        cost: In forward passes or explanations of an image.
        images: The most images; None for all audited ones.
        default: Whether an audit measures it without request.
        needs_explainer: Whether it needs a method and not just maps, so that reference maps have no figure.
        needs_objects: Whether it needs boxes or masks.
    """

    name: str
    reference: str
    heading: str
    meaning: str
    higher_is_better: bool | None
    cost: str
    images: int | None = None
    default: bool = True
    needs_explainer: bool = False
    needs_objects: bool = False

    @property
    def function(self) -> Callable[..., dict[str, Any]]:
        """The function, imported when it is first used."""
        return resolve(self.reference)

    @property
    def sign(self) -> int:
        """1 if higher is better, else -1."""
        return 1 if self.higher_is_better else -1


_HERE = "kerasxai.audit.measuring:"
_ROWS = (
    Measure(
        "deletion",
        f"{_HERE}deletion",
        "deletion",
        "area under the probability of the class while the most relevant pixels become black",
        False,
        "11 passes",
    ),
    Measure(
        "insertion",
        f"{_HERE}insertion",
        "insertion",
        "the same area while they return to a blurred image",
        True,
        "11 passes",
    ),
    Measure(
        "road",
        f"{_HERE}road",
        "ROAD",
        "probability without the least relevant pixels minus without the most relevant ones, which are imputed",
        True,
        "7 passes and 6 sparse systems",
        images=50,
    ),
    Measure(
        "average_drop",
        f"{_HERE}average_drop",
        "average drop",
        "relative loss of probability when the image is multiplied by the map; a constant map is perfect",
        False,
        "2 passes",
    ),
    Measure(
        "stability",
        f"{_HERE}stability",
        "max. sensitivity",
        "largest change of the map under imperceptible noise, relative to its norm",
        False,
        "2 explanations",
        8,
        needs_explainer=True,
    ),
    Measure(
        "complexity",
        f"{_HERE}gini",
        "Gini",
        "Gini index of sparseness: 0 for a constant map, 1 for a single pixel",
        None,
        "none",
    ),
    Measure(
        "localization",
        f"{_HERE}energy",
        "on the object",
        "share of the positive evidence that is inside the boxes or masks",
        True,
        "none",
        needs_objects=True,
    ),
    Measure(
        "pointing",
        f"{_HERE}pointing",
        "pointing",
        "share of maps whose highest pixel is on the object or within 15 pixels of it",
        True,
        "none",
        needs_objects=True,
    ),
    Measure(
        "sanity",
        f"{_HERE}sanity",
        "random model",
        "similarity to the maps of the model with a random upper half: a correlation of edges (HOG) or of ranks",
        False,
        "5 explanations",
        8,
        needs_explainer=True,
    ),
    Measure(
        "random_class",
        f"{_HERE}random_class",
        "random class",
        "rank correlation with the map of another class",
        False,
        "2 explanations",
        16,
        False,
        True,
    ),
    Measure(
        "average_gain",
        f"{_HERE}average_gain",
        "average gain",
        "relative gain of probability when the image is multiplied by the map",
        True,
        "2 passes",
        default=False,
    ),
    Measure(
        "comprehensiveness",
        f"{_HERE}comprehensiveness",
        "comprehensiveness",
        "loss of probability when the most relevant superpixels are removed",
        True,
        "5 passes",
        default=False,
    ),
    Measure(
        "sufficiency",
        f"{_HERE}sufficiency",
        "sufficiency",
        "loss of probability when only the most relevant superpixels are kept",
        False,
        "5 passes",
        default=False,
    ),
    Measure(
        "infidelity",
        f"{_HERE}infidelity",
        "infidelity",
        "squared error of the map as a linear model of the score under noise",
        False,
        "101 passes",
        50,
        False,
    ),
    Measure(
        "mufidelity",
        f"{_HERE}mufidelity",
        "muFidelity",
        "correlation of the sums of the map over random subsets with the loss of score without them",
        True,
        "a pass per subset",
        50,
        False,
    ),
    Measure(
        "sensitivity_n",
        f"{_HERE}sensitivity_n",
        "sensitivity-n",
        "the same correlation for subsets of several fixed sizes",
        True,
        "passes per subset and share",
        50,
        False,
    ),
)
MEASURES: dict[str, Measure] = {row.name: row for row in _ROWS}
DEFAULT_MEASURES = tuple(row.name for row in _ROWS if row.default)
"""What an audit measures without request; localization and pointing where there are boxes or masks."""
REFERENCE_IMAGES = 32
"""The most images of measures with passes for reference maps other than edges, which every method is compared with."""
COMPARED = ("deletion", "insertion", "road")
"""The measures by which methods are compared with reference maps; a constant map is perfect by average drop."""
