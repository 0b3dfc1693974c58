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
        even_in_score: Whether a score and its negative, as of the two classes of a single unit, have the same map.
    """

    name: str
    reference: str
    needs: str
    paper: str
    summary: str
    takes_layer: bool = False
    takes_score: bool = True
    takes_function: bool = False
    even_in_score: bool = False

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
    Method(
        "rise",
        "kerasxai.methods.rise:rise",
        "scores only: any Keras model or function",
        "Petsiuk 2018, arXiv:1806.07421",
        "Random masks, averaged with the score that each leaves.",
        takes_function=True,
    ),
    Method(
        "lime",
        "kerasxai.methods.lime:lime",
        "scores only: any Keras model or function",
        "Ribeiro 2016, arXiv:1602.04938",
        "A linear fit of the probability to which superpixels are seen.",
        takes_function=True,
    ),
    Method(
        "kernelshap",
        "kerasxai.methods.kernelshap:kernelshap",
        "scores only: any Keras model or function",
        "Lundberg 2017, arXiv:1705.07874",
        "Shapley values of superpixels; they sum to the score's difference to a hidden image.",
        takes_function=True,
    ),
    Method(
        "scorecam",
        "kerasxai.methods.scorecam:scorecam",
        "a feature map",
        "Wang 2020, arXiv:1910.01279",
        "A layer's channels, weighted by the score of the image seen through each, positive part.",
        takes_layer=True,
    ),
    Method(
        "ablationcam",
        "kerasxai.methods.ablation:ablationcam",
        "a feature map",
        "Desai 2020, WACV",
        "A layer's channels, weighted by how far the score falls without each, positive part.",
        takes_layer=True,
        even_in_score=True,
    ),
]
METHODS: dict[str, Method] = {row.name: row for row in _ROWS}
