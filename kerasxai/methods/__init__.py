"""METHODS, the table of all explainers.

A method is a function `method(model, batch, **options) -> maps` and one row here; the choices of the command line, the
table of the guide to methods and the conformance tests come from the rows. Its arguments are the same for all methods:

    model: A `TracedModel`; or any `ScoreModel`, for methods that only need scores.
    batch: `Samples` with images `(B, H, W, C)` float32 and classes `(B,)` int64, -1 for the predicted one.

It returns maps `(B, h, w)` float32 and reports whatever else it found with `model.record(name=value)`. Nothing in this
module imports TensorFlow.
"""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from kerasxai.tools.errors import unknown
from kerasxai.tools.lazy import resolve


@dataclass(frozen=True)
class Method:
    """One explainer.

    Attributes:
        name: As the user writes it.
        reference: Where the function is, `"module:function"`.
        needs: What the model must have.
        paper: Who proposed it, and where.
        summary: One line.
        takes_layer: Whether it explains a layer that the user may choose.
        takes_score: Whether it explains any score, or only that of a class.
        takes_function: Whether it only needs scores, so that any function of images will do.
        class_specific: Whether another class has another map.
        signed: What noise averages go over, `"module:function"`, where the method ends in an absolute value: the same
            before it, `(B, h, w, C)`.
        finish: That last step, `"module:function"`.
        cost: In forward passes of the model.
        pixelwise: Whether the map is scattered over single pixels, and is better drawn alone than over the image.
        relative: Whether only the differences within a map mean anything, so that it is drawn from its lowest value on.
        takes_tokens: Whether it also explains tokens `(N, T)`, whole numbers that an embedding looks up.
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
    takes_tokens: bool = False
    even_in_score: bool = False
    class_specific: bool = True
    signed: str = ""
    finish: str = ""
    cost: str = ""
    pixelwise: bool = False
    relative: bool = False

    @property
    def function(self) -> Callable[..., Any]:
        """The function, imported when it is first asked for."""
        return resolve(self.reference)

    @property
    def signed_function(self) -> Callable[..., Any]:
        """What noise averages go over: the function, or the same before its last step."""
        return resolve(self.signed or self.reference)

    @property
    def option_names(self) -> list[str]:
        """The names of the options of the function."""
        parameters = inspect.signature(self.function).parameters.values()
        return [p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]

    def check_options(self, options: Iterable[str]) -> None:
        """Check the names of options.

        Raises:
            KerasxaiError: An option is unknown.
        """
        for name in options:
            if name not in self.option_names:
                raise unknown(f"option of {self.name}", name, self.option_names or ["none"])

    def finished(self, maps: Any) -> Any:
        """Takes the last step after an average over noise."""
        return resolve(self.finish)(maps) if self.finish else maps


_ROWS = [
    Method(
        "cam",
        "kerasxai.methods.class_weights:cam",
        "global average pooling and one dense layer, a 1x1-convolution head, or ACoL",
        "Zhou 2016, arXiv:1512.04150; Lin 2013, arXiv:1312.4400",
        "The last feature map, weighted by the class's own weights.",
        takes_score=False,
        takes_tokens=True,
        cost="1",
    ),
    Method(
        "gradcam",
        "kerasxai.methods.cam:gradcam",
        "a feature map",
        "Selvaraju 2017, arXiv:1610.02391",
        "A layer's channels, weighted by the mean gradient of the score, positive part.",
        takes_layer=True,
        takes_tokens=True,
        cost="1",
    ),
    Method(
        "gradcam++",
        "kerasxai.methods.cam:gradcam_plus_plus",
        "a feature map",
        "Chattopadhay 2018, arXiv:1710.11063",
        "Grad-CAM with weights that count each place by its share, for several objects of one class.",
        takes_layer=True,
        takes_tokens=True,
        cost="1",
    ),
    Method(
        "xgradcam",
        "kerasxai.methods.cam:xgradcam",
        "a feature map",
        "Fu 2020, arXiv:2008.02312",
        "Grad-CAM with gradients averaged in proportion to the activations.",
        takes_layer=True,
        takes_tokens=True,
        cost="1",
    ),
    Method(
        "layercam",
        "kerasxai.methods.cam:layercam",
        "a feature map",
        "Jiang 2021, doi:10.1109/TIP.2021.3089943",
        "Activations times positive gradients, place by place; also for early layers.",
        takes_layer=True,
        takes_tokens=True,
        cost="1",
    ),
    Method(
        "hirescam",
        "kerasxai.methods.cam:hirescam",
        "a feature map",
        "Draelos 2020, arXiv:2011.08891",
        "Activations times gradients, place by place, positive part.",
        takes_layer=True,
        takes_tokens=True,
        cost="1",
    ),
    Method(
        "eigencam",
        "kerasxai.methods.cam:eigencam",
        "a feature map",
        "Muhammad 2020, arXiv:2008.00299",
        "The main direction in a layer's activations, whatever the class.",
        takes_layer=True,
        class_specific=False,
        takes_tokens=True,
        cost="1",
    ),
    Method(
        "saliency",
        "kerasxai.methods.saliency:saliency",
        "gradients at the input",
        "Simonyan 2013, arXiv:1312.6034",
        "How sensitive the score is to each pixel: the size of the gradient.",
        even_in_score=True,
        signed="kerasxai.methods.saliency:input_gradients",
        finish="kerasxai.methods.saliency:strongest_color",
        takes_tokens=True,
        cost="2 to 3",
        pixelwise=True,
    ),
    Method(
        "gradient*input",
        "kerasxai.methods.saliency:gradient_input",
        "gradients at the input",
        "Shrikumar 2016, arXiv:1605.01713",
        "Each pixel's share of the score, to first order.",
        takes_tokens=True,
        cost="2 to 3",
        pixelwise=True,
    ),
    Method(
        "integrated_gradients",
        "kerasxai.methods.integrated_gradients:integrated_gradients",
        "gradients at the input",
        "Sundararajan 2017, arXiv:1703.01365",
        "Each pixel's share of the score's rise from a baseline image; the shares add up to it.",
        cost="2 to 3 times steps",
        pixelwise=True,
    ),
    Method(
        "deconvnet",
        "kerasxai.methods.saliency:deconvnet",
        "rectifiers (ReLU, ReLU6)",
        "Zeiler 2013, arXiv:1311.2901",
        "Saliency with rectified gradients instead of rectified activations.",
        signed="kerasxai.methods.saliency:deconvnet_gradients",
        finish="kerasxai.methods.saliency:strongest_color",
        takes_tokens=True,
        cost="2 to 3",
        pixelwise=True,
    ),
    Method(
        "guided_backprop",
        "kerasxai.methods.saliency:guided_backprop",
        "rectifiers (ReLU, ReLU6)",
        "Springenberg 2014, arXiv:1412.6806",
        "Saliency through active units and positive gradients alone: sharp, hardly tied to the class.",
        signed="kerasxai.methods.saliency:guided_gradients",
        finish="kerasxai.methods.saliency:strongest_color",
        takes_tokens=True,
        cost="2 to 3",
        pixelwise=True,
    ),
    Method(
        "guided_gradcam",
        "kerasxai.methods.saliency:guided_gradcam",
        "a feature map and rectifiers (ReLU, ReLU6)",
        "Selvaraju 2017, arXiv:1610.02391",
        "Guided backpropagation where Grad-CAM is positive.",
        takes_layer=True,
        signed="kerasxai.methods.saliency:guided_gradcam_colors",
        finish="kerasxai.methods.saliency:strongest_color",
        takes_tokens=True,
        cost="2 to 3",
        pixelwise=True,
    ),
    Method(
        "occlusion",
        "kerasxai.methods.occlusion:occlusion",
        "scores only: any Keras model or function",
        "Zeiler 2013, arXiv:1311.2901",
        "How far the score falls when a patch hides a place.",
        takes_function=True,
        takes_tokens=True,
        cost="one a patch: 169 for a patch of 32 by steps of 16 at 224",
    ),
    Method(
        "rise",
        "kerasxai.methods.rise:rise",
        "scores only: any Keras model or function",
        "Petsiuk 2018, arXiv:1806.07421",
        "Random masks, averaged with the score that each leaves.",
        takes_function=True,
        cost="one a mask: 1000",
        relative=True,
    ),
    Method(
        "lime",
        "kerasxai.methods.lime:lime",
        "scores only: any Keras model or function",
        "Ribeiro 2016, arXiv:1602.04938",
        "A linear fit of the probability to which superpixels are seen.",
        takes_function=True,
        cost="one a sample: 1000",
    ),
    Method(
        "kernelshap",
        "kerasxai.methods.kernelshap:kernelshap",
        "scores only: any Keras model or function",
        "Lundberg 2017, arXiv:1705.07874",
        "Shapley values of superpixels; they sum to the score's difference to a hidden image.",
        takes_function=True,
        cost="one a sample: 1000",
    ),
    Method(
        "scorecam",
        "kerasxai.methods.scorecam:scorecam",
        "a feature map",
        "Wang 2020, arXiv:1910.01279",
        "A layer's channels, weighted by the score of the image seen through each, positive part.",
        takes_layer=True,
        cost="one a channel",
    ),
    Method(
        "ablationcam",
        "kerasxai.methods.ablation:ablationcam",
        "a feature map",
        "Desai 2020, WACV",
        "A layer's channels, weighted by how far the score falls without each, positive part.",
        takes_layer=True,
        even_in_score=True,
        takes_tokens=True,
        cost="1, and a small part of one a channel",
    ),
]
METHODS: dict[str, Method] = {row.name: row for row in _ROWS}
