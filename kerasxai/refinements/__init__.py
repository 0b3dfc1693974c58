"""REFINEMENTS, the table of the operations on heatmaps after a method.

A refinement is a pure function and one row here. There are four kinds, by their arguments besides the heatmap:

- `"heatmap"`: `(heatmaps, **options) -> heatmaps`, NumPy `(N, H, W)`;
- `"image"`: `(heatmaps, images, **options) -> heatmaps`, with the images `(N, H, W, C)` that were explained;
- `"method"`: `(explain, images, targets, **options) -> heatmaps`, which calls any `explain(images, targets)` again;
- `"model"`: `(model, explain, batch, **options) -> heatmaps`, which calls `explain(model, batch)`, also on an altered
  model.

The first three work on heatmaps from anywhere and on any function that explains. A chain is a composition: each step
takes all steps before it for the method. Nothing in this module imports TensorFlow.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from kerasxai.tools.lazy import resolve


@dataclass(frozen=True)
class Refinement:
    """One refinement.

    Attributes:
        name: The name in a chain.
        reference: The function, `"module:function"`.
        needs: `"heatmap"`, `"image"`, `"method"` or `"model"`; see the module.
        paper: The reference.
        summary: One line.
        cost: Forward passes of the model in addition to those of the method, with the default options.
        optional: Whether the heatmap does not change where the refinement is impossible, instead of an error.
    """

    name: str
    reference: str
    needs: str
    paper: str
    summary: str
    cost: str = "0"
    optional: bool = False

    @property
    def function(self) -> Callable[..., Any]:
        """The function, imported at the first access."""
        return resolve(self.reference)


_ROWS = [
    Refinement(
        "auto",
        "kerasxai.refinements.automatic:auto",
        "model",
        "Cohen 1960, doi:10.1177/001316446002000104",
        "The preset `best` if the model recognizes enlarged images, else `graphcut`.",
        cost="6.25 or 0",
        optional=True,
    ),
    Refinement(
        "flip",
        "kerasxai.refinements.averages:flip",
        "method",
        "Wang 2020, arXiv:2004.04581",
        "The mean of the heatmaps of the image and of the mirrored image.",
        cost="1 method",
    ),
    Refinement(
        "shifts",
        "kerasxai.refinements.averages:shifts",
        "method",
        "Long 2015, arXiv:1411.4038 (shift and stitch)",
        "The mean over shifts of the image by fractions of the network's stride: a finer map from any model.",
        cost="4 methods",
    ),
    Refinement(
        "scales",
        "kerasxai.refinements.averages:scales",
        "method",
        "Ahn 2019, arXiv:1904.05044",
        "The mean over sizes of the image; for models of fixed input, over crops of it.",
        cost="4 methods (crops), 2.25 (whole images)",
    ),
    Refinement(
        "enlarge",
        "kerasxai.refinements.sizes:enlarge",
        "model",
        "Ahn 2019, arXiv:1904.05044",
        "The mean over enlarged images, whatever size the model was built for: a finer map that fits the object.",
        cost="6.25",
    ),
    Refinement(
        "stride",
        "kerasxai.refinements.strides:stride",
        "model",
        "Chen 2018, arXiv:1606.00915",
        "The method on a finer map: late strides are replaced by dilations, with the same weights.",
        cost="1 to 4",
    ),
    Refinement(
        "pc1",
        "kerasxai.refinements.components:pc1",
        "model",
        "Kim 2023, arXiv:2309.06022",
        "The first principal component of the feature map within the class's evidence.",
        cost="1",
    ),
    Refinement(
        "discriminant",
        "kerasxai.refinements.discriminants:discriminant",
        "model",
        "Fisher 1936, doi:10.1111/j.1469-1809.1936.tb02137.x",
        "A linear discriminant of object and background in a finer layer's features, fitted to the heatmap.",
        cost="4",
    ),
    Refinement(
        "superpixels",
        "kerasxai.refinements.regions:superpixels",
        "image",
        "Achanta 2012, doi:10.1109/TPAMI.2012.120",
        "The heatmap's mean within each superpixel.",
    ),
    Refinement(
        "walker",
        "kerasxai.refinements.regions:walker",
        "image",
        "Grady 2006, doi:10.1109/TPAMI.2006.233",
        "A random walk on the image's edges, from seeds where the heatmap is high and where it is low.",
    ),
    Refinement(
        "graphcut",
        "kerasxai.refinements.cuts:graphcut",
        "image",
        "Boykov 2001, doi:10.1109/ICCV.2001.937505; Rother 2004, doi:10.1145/1015706.1015720",
        "The cheapest cut along image edges between the colors of high and of low heatmap values.",
    ),
    Refinement(
        "erase",
        "kerasxai.refinements.erasing:erase",
        "method",
        "Wei 2017, arXiv:1703.08448",
        "The union of the maps while the most important regions are hidden one after the other.",
        cost="up to 3 methods",
    ),
    Refinement(
        "level",
        "kerasxai.refinements.levels:level",
        "heatmap",
        "Otsu 1979, doi:10.1109/TSMC.1979.4310076",
        "Bends the heatmap so that an automatic threshold moves to 20 % of its maximum.",
    ),
]

REFINEMENTS: dict[str, Refinement] = {row.name: row for row in _ROWS}

PRESETS: dict[str, str] = {"best": "enlarge,discriminant,graphcut"}
"""Named chains."""

RefinementChoice: TypeAlias = dict[str, str | float]
"""The choice of `"auto"`: `auto`, the preset or chain, and `agreement` or `without_best`, as notes of explanations."""

REFINE_HELP = (
    "refinements of the heatmaps: a chain of names separated by commas, options as NAME:OPTION=VALUE; "
    f"a preset ({', '.join(PRESETS)}) or of: {', '.join(REFINEMENTS)} (default: nothing)"
)


def has_auto(refine: object) -> bool:
    """Return whether a chain of refinements, in any form, has the choice `"auto"`.

    Example:
        >>> has_auto("flip,auto"), has_auto(["best"]), has_auto(None)
        (True, False, False)
    """
    return re.search(r"\bauto\b", str(refine)) is not None
