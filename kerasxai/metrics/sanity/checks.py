"""Randomization of the model, of the labels and of the class: what the heatmaps of a method do not depend on."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from numpy.typing import ArrayLike, NDArray

from kerasxai.engine.layers import input_specs
from kerasxai.metrics.base import Metric, Result
from kerasxai.metrics.sanity.similarity import SIMILARITIES, similarities
from kerasxai.metrics.sanity.weights import WeightedLayer, layers_from_top, randomize, weights_restored
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.options import choice, whole

if TYPE_CHECKING:
    from kerasxai.engine.inputs import Inputs
    from kerasxai.explainer import Explainer

ORDERS = ("cascading", "independent")
INSANE = 1 / 3
"""From this HOG correlation on, heatmaps count as unchanged although the upper half of the layers is random."""
MARGIN = 0.15
"""With a control: by how much the HOG correlation may exceed that of plain gradients."""
SAME_RANKS = 0.5
"""From this rank correlation on, heatmaps of methods that only see scores count as unchanged."""


class _SanityCheck(Metric):
    """Base of the checks: similarities of heatmaps before and after a change, by `SIMILARITIES`.

    Attributes:
        curves: `(B, changes, 3)` similarities of the last call.
    """

    higher_is_better = False

    def __init__(self, explainer: Explainer | None, **options: Any) -> None:
        super().__init__(**options)
        self._explainer = explainer
        self.curves: NDArray[np.float64] | None = None
        self.totals = {"images": np.zeros(1, int)}

    @property
    def explainer(self) -> Explainer:
        """The explainer that is checked."""
        if self._explainer is None:
            raise KerasxaiError(f"expected an explainer to check, got none; {type(self).__name__}(explainer, ...)")
        return self._explainer

    def __call__(self, images: Inputs, targets: ArrayLike | None = None) -> NDArray[np.float64]:
        """Check an explainer on images.

        Args:
            images: As for the explainer.
            targets: The explained classes; None for those that the unchanged model predicts.

        Returns:
            `(B,)` similarities, as in `result`; all of them are in `curves`.
        """
        clean = self.explainer(images, targets)
        changed = list(self.changed(images, clean.targets))
        self.curves = np.stack(
            [[similarities(*pair) for pair in zip(clean.heatmaps, heatmaps, strict=True)] for heatmaps in changed],
            axis=1,
        )
        return self.headline(self.curves)

    def headline(self, curves: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the figure `(...)` of similarities `(..., changes, 3)`; that of the first kind after the last."""
        return curves[..., -1, 0]

    def changed(self, images: Inputs, targets: NDArray[Any]) -> Iterator[NDArray[np.float32]]:
        """Yield the heatmaps `(B, H, W)` after each change."""
        raise NotImplementedError

    def update(self, images: Inputs, targets: ArrayLike | None = None) -> None:
        """Count a batch; arguments and errors as for a call."""
        self(images, targets)
        assert self.curves is not None
        self.add(similarity=self.curves.sum(0), images=len(self.curves))

    def means(self) -> NDArray[np.float64]:
        """Return the mean similarities `(changes, 3)`."""
        images = self.counted(unit="image")
        return self.totals["similarity"] / images


class ModelRandomization(_SanityCheck):
    """Model randomization: similarity of heatmaps to those of a model with random weights. Lower is better.

    Layers are randomized from the top, one after the other (`"cascading"`), or each alone (`"independent"`): their
    weights are drawn by their initializers. A method whose heatmaps stay the same explains the image and not the model.
    Spearman's correlation, SSIM and HOG of the absolute values are compared. The model has its weights back, to the
    bit, at the end and after an error; meanwhile no other thread should use it. Costs `steps + 1` explanations per
    image.

    Args:
        explainer: A `kerasxai.Explainer` of a Keras model; None for a metric that is only merged and read.
        order: `"cascading"` or `"independent"`.
        steps: In how many steps all layers are randomized, neighbors together; None takes each layer alone.
        seed: Of the permutations.
        control: An explainer of the same model by plain gradients, `"saliency"`, to compare with; twice the cost or
            less. How much structure random upper layers leave depends on the network. It is not needed for a method
            that only sees scores.
        similarity: The similarity of the result, `"hog"` or `"spearman"`; None for rank correlation if the method only
            sees scores, and HOG otherwise.

    Attributes:
        curves: `(B, steps, 3)` similarities of the last call, in the order of `SIMILARITIES`.
        control_values: `(B,)` similarities of the control in the last call; None without a control.
        layers: The last layer of each step.

    Example:
        >>> check = ModelRandomization(kerasxai.Explainer(model, "guided_backprop"), steps=5)
        >>> check.update(images)
        >>> check.result()["passed"]
        False

    Paper: Adebayo et al. 2018, "Sanity Checks for Saliency Maps", arXiv:1810.03292. Departures: weights for which no
    initializer is found are permuted. The verdict is ours: `passed` means a mean HOG correlation below 1/3 once the
    upper half of the layers is random, or with a control one less than 0.15 above that of the control. On five small
    networks trained on `shapes` that half left guided backpropagation at 0.39 to 0.51, gradients at 0.17 to 0.35 and
    Grad-CAM at 0.05 to 0.09; on EfficientNet-Lite0 with weights of ImageNet at 0.79, 0.43 and 0.06, on one trained on
    `shapes` at 0.32, 0.13 and 0.04: no limit separates them on every network, the difference to gradients does. The
    lower half does not count, since random first filters change any method that looks at pixels; rank correlations do
    not separate them as well, because wherever a network is silent the ranks stay the same. Methods that only see
    scores (occlusion, RISE, LIME, KernelSHAP) bring a structure of their own, windows or superpixels, which HOG takes
    for that of the map: 0.83 to 0.86 for occlusion and LIME on two of these networks. Their ranks are compared instead,
    -0.07 to 0.26 there, and the limit is 0.5.
    """

    def __init__(
        self,
        explainer: Explainer | None = None,
        order: str = "cascading",
        steps: int | None = None,
        seed: int = 0,
        control: Explainer | None = None,
        similarity: str | None = None,
    ) -> None:
        steps = None if steps is None else whole("steps", steps, 1)
        if similarity is None:
            # None, and objects that only behave like an explainer, have no row of METHODS.
            method = getattr(explainer, "method", None)
            similarity = "spearman" if getattr(method, "takes_function", False) else "hog"
        super().__init__(
            explainer,
            order=choice("order", order, ORDERS),
            steps=steps,
            seed=whole("seed", seed, 0),
            similarity=choice("similarity", similarity, ("hog", "spearman")),
        )
        self.layers: list[str] = []
        # Plain gradients say how much structure a network leaves; ranks have a limit of their own.
        self._control = control if similarity == "hog" else None
        self.control_values: NDArray[np.float64] | None = None

    def __call__(self, images: Inputs, targets: ArrayLike | None = None) -> NDArray[np.float64]:
        """Check an explainer on images; arguments and values as for the other checks, with those of the control."""
        values = super().__call__(images, targets)
        self.control_values = None
        if self._control is not None:
            classes = self.explainer(images, targets).targets if targets is None else targets
            same = type(self)(self._control, **self.options)
            self.control_values = same(images, classes)
        return values

    def update(self, images: Inputs, targets: ArrayLike | None = None) -> None:
        """Count a batch; arguments and errors as for a call."""
        super().update(images, targets)
        if self.control_values is not None:
            self.add(control=self.control_values.sum(), controlled=len(self.control_values))

    def changed(self, images: Inputs, targets: NDArray[Any]) -> Iterator[NDArray[np.float32]]:
        """Yield the heatmaps `(B, H, W)` after each step."""
        explainer = self.explainer
        model = explainer.model
        if not isinstance(model, keras.Model):
            raise KerasxaiError(f"expected an explainer of a Keras model, got one of a {type(model).__name__}")
        steps = grouped(layers_from_top(model, images if input_specs(model) is None else None), self.options["steps"])
        self.layers = [step[-1].path for step in steps]
        everything = [variable for step in steps for layer in step for variable in layer.weights]
        with weights_restored(everything):
            for number, step in enumerate(steps):
                mine = [variable for layer in step for variable in layer.weights]
                with weights_restored(mine if self.options["order"] == "independent" else []):
                    generator = np.random.default_rng((self.options["seed"], number))
                    for layer in step:
                        randomize(layer, generator)
                    heatmaps = explainer(images, targets).heatmaps
                yield heatmaps

    def result(self) -> Result:
        """Return `model_randomization`, `passed`, the curves by similarity, and `control` if there is one."""
        means = self.means()
        figure = float(self.headline(means))
        curves = {name: curve.tolist() for name, curve in zip(SIMILARITIES, means.T, strict=True)}
        images = int(self.totals["images"][0])
        control = None
        if "control" in self.totals:
            control = float(self.totals["control"][0] / self.totals["controlled"][0])
        limit = INSANE if self.options["similarity"] == "hog" else SAME_RANKS
        passed = figure < limit if control is None else figure - control < MARGIN
        found = Result(model_randomization=figure, passed=passed, images=images, layers=self.layers, curves=curves)
        return found if control is None else Result(found, control=control)

    def headline(self, curves: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the similarity once the upper half is random, or the mean over the upper half one by one."""
        kind = list(SIMILARITIES).index(self.options["similarity"])
        upper = curves[..., : (curves.shape[-2] + 1) // 2, kind]
        return upper[..., -1] if self.options["order"] == "cascading" else upper.mean(-1)


class RandomClass(_SanityCheck):
    """Random class: similarity of the heatmap to that of another class, drawn at random. Lower is better.

    A method whose heatmaps are the same for every class does not explain the decision. Costs 2 explanations per image.

    Args:
        explainer: A `kerasxai.Explainer`; None for a metric that is only merged and read.
        seed: Of the classes.

    Attributes:
        curves: `(B, 1, 3)` similarities of the last call, in the order of `SIMILARITIES`.

    Example:
        >>> check = RandomClass(kerasxai.Explainer(model, "gradcam"))
        >>> check(images)
        array([0.12, 0.31])

    Paper: Sixt et al. 2020, "When Explanations Lie", arXiv:1912.09818, the random logit test.
    """

    def __init__(self, explainer: Explainer | None = None, seed: int = 0) -> None:
        super().__init__(explainer, seed=whole("seed", seed, 0))

    def changed(self, images: Inputs, targets: NDArray[Any]) -> Iterator[NDArray[np.float32]]:
        """Yield the heatmaps `(B, H, W)` of other classes."""
        classes = self.explainer.predict(images).scores.shape[1]
        if classes < 2:
            raise KerasxaiError(f"expected a model with two or more classes, got {classes}")
        away = np.random.default_rng(self.options["seed"]).integers(1, classes, len(targets))
        yield self.explainer(images, (targets + away) % classes).heatmaps

    def result(self) -> Result:
        """Return `random_class`, the mean rank correlation, and the other similarities."""
        means = dict(zip(SIMILARITIES, self.means()[0].tolist(), strict=True))
        return Result(random_class=means["spearman"], images=int(self.totals["images"][0]), **means)


class RandomLabels(_SanityCheck):
    """Random labels: similarity of the heatmap to that of a model trained on permuted labels. Lower is better.

    The second model has the architecture and the training of the first, until it knows its random labels by heart. A
    method whose heatmaps are the same explains the architecture and the images, and not what was learned. Costs 2
    explanations per image, and the second training, which is up to the caller.

    Args:
        explainer: A `kerasxai.Explainer` of the trained model; None for a metric that is only merged and read.
        random: An explainer of the second model by the same method.

    Attributes:
        curves: `(B, 1, 3)` similarities of the last call, in the order of `SIMILARITIES`.

    Raises:
        KerasxaiError: The explainers are of different methods, or of one model.

    Example:
        >>> labels = np.random.default_rng(0).permutation(dataset.labels("train"))
        >>> second.fit(dataset.training_pairs("train", settings, labels=labels), epochs=50)
        >>> check = RandomLabels(kerasxai.Explainer(model, "gradcam"), kerasxai.Explainer(second, "gradcam"))
        >>> check(images)
        array([0.08, 0.21])

    Paper: Adebayo et al. 2018, "Sanity Checks for Saliency Maps", arXiv:1810.03292, the data randomization test.
    """

    def __init__(self, explainer: Explainer | None = None, random: Explainer | None = None) -> None:
        super().__init__(explainer)
        if explainer is not None and random is not None:
            names = [getattr(one.method, "name", "") for one in (explainer, random)]
            if names[0] != names[1]:
                raise KerasxaiError(f"expected two explainers of the same method, got {names[0]} and {names[1]}")
            if explainer.model is random.model:
                raise KerasxaiError("expected another model trained on random labels, got the same model twice")
        self._random = random

    def changed(self, images: Inputs, targets: NDArray[Any]) -> Iterator[NDArray[np.float32]]:
        """Yield the heatmaps `(B, H, W)` of the second model."""
        if self._random is None:
            raise KerasxaiError(
                "expected an explainer of a model trained on random labels, got none; RandomLabels(explainer, random)"
            )
        yield self._random(images, targets).heatmaps

    def result(self) -> Result:
        """Return `random_labels`, the mean rank correlation, and the other similarities."""
        means = dict(zip(SIMILARITIES, self.means()[0].tolist(), strict=True))
        return Result(random_labels=means["spearman"], images=int(self.totals["images"][0]), **means)


def grouped(layers: Sequence[WeightedLayer], steps: int | None) -> list[list[WeightedLayer]]:
    """Return layers in so many groups of neighbors, of sizes that differ by one at most; None for one each."""
    count = len(layers) if steps is None else min(steps, len(layers))
    bounds = [number * len(layers) // count for number in range(count + 1)]
    return [list(layers[a:b]) for a, b in itertools.pairwise(bounds)]
