"""METHODS, the table of all explainers.

A method is a function `(view, images, targets, **options) -> (B, h, w)` and one row here. The command line's choices,
the README's table and the conformance tests come from the rows. Nothing in this module imports TensorFlow.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kerasxai.core.lazy import resolve


@dataclass(frozen=True)
class Method:
    """One explainer.

    Attributes:
        name: As the user writes it.
        reference: Where the function is, `"module:function"`.
        needs: What the model must have.
        paper: Who proposed it, and where.
        summary: One line.
        takes_layer: Whether it explains at a layer that the user may choose.
        takes_score: Whether it explains any score, or only the logit of a class.
        takes_function: Whether it only asks for scores, so that any function of images will do.
    """

    name: str
    reference: str
    needs: str
    paper: str
    summary: str
    takes_layer: bool = False
    takes_score: bool = True
    takes_function: bool = False

    @property
    def function(self) -> Callable[..., Any]:
        """The function, imported when it is first asked for."""
        return resolve(self.reference)


_ROWS = [
    Method(
        "cam",
        "kerasxai.methods.class_weights:cam",
        "global average pooling and one dense layer, a 1x1-convolution head, or ACoL",
        "Zhou 2016, arXiv:1512.04150; Lin 2013, arXiv:1312.4400",
        "The last feature map, weighted by the class's own weights.",
        takes_score=False,
    ),
    Method(
        "gradcam",
        "kerasxai.methods.cam:gradcam",
        "a feature map",
        "Selvaraju 2017, arXiv:1610.02391",
        "A layer's channels, weighted by the mean gradient of the score, positive part.",
        takes_layer=True,
    ),
    Method(
        "occlusion",
        "kerasxai.methods.occlusion:occlusion",
        "scores only: any Keras model or function",
        "Zeiler 2013, arXiv:1311.2901",
        "How far the score falls when a patch hides a place.",
        takes_function=True,
    ),
]
METHODS: dict[str, Method] = {row.name: row for row in _ROWS}
