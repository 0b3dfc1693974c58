"""The estimators whose accuracy is measured, and the numbers of passes of each."""

from dataclasses import dataclass, field, replace
from typing import Any

Options = dict[str, Any]


@dataclass(frozen=True)
class Estimator:
    """One way of computing the map of a method.

    Attributes:
        name: As in the table.
        options: The options of the method that select it.
    """

    name: str
    options: Options = field(default_factory=dict)


@dataclass(frozen=True)
class Ladder:
    """One method with growing numbers of passes.

    Attributes:
        name: The method, or the name of an average over noise.
        estimators: The estimators to compare.
        steps: For each step the number of passes, or 0 to count them, and the options.
        reference: The options of the reference, which is computed once for all estimators.
        method: The method in `kerasxai.METHODS` if it has another name.
        quantity: `"logit"` or `"probability"` for methods that only need scores, which are computed once for each
            perturbed image and stored; empty for methods that need the model.
    """

    name: str
    estimators: tuple[Estimator, ...]
    steps: tuple[tuple[int, Options], ...]
    reference: Options
    method: str = ""
    quantity: str = ""

    def at_side(self, side: int) -> "Ladder":
        """Return the ladder for images of another side than 224 pixels, with strides of the same share of the side."""

        def scaled(options: Options) -> Options:
            strides = {"stride": max(1, round(options["stride"] * side / 224))} if "stride" in options else {}
            return options | strides

        return replace(
            self,
            estimators=tuple(replace(one, options=scaled(one.options)) for one in self.estimators),
            steps=tuple((passes, scaled(options)) for passes, options in self.steps),
            reference=scaled(self.reference),
        )


def _counted(option: str, *counts: int) -> tuple[tuple[int, Options], ...]:
    return tuple((count, {option: count}) for count in counts)


def _passes(option: str, *values: int) -> tuple[tuple[int, Options], ...]:
    """Return steps whose passes are counted."""
    return tuple((0, {option: value}) for value in values)


DEFAULT = Estimator("default")
RANDOM = Estimator("random", {"sampling": "random"})
PAIRED = Estimator("paired", {"sampling": "paired"})
ORTHOGONAL = Estimator("orthogonal", {"sampling": "orthogonal"})
LOGISTIC = Estimator("control variate", {"control_variate": "logistic"})
ORTHOGONAL_LOGISTIC = Estimator("orthogonal, control variate", ORTHOGONAL.options | LOGISTIC.options)
LINEAR = Estimator("control variate", {"control_variate": "linear"})
BOTH = Estimator("paired, control variate", PAIRED.options | LINEAR.options)
LADDERS = (
    Ladder(
        "rise",
        (DEFAULT, PAIRED, LINEAR, BOTH),
        _counted("masks", 125, 250, 500),
        {"masks": 2500, "seed": 1} | BOTH.options,
        quantity="probability",
    ),
    Ladder(
        "lime",
        (DEFAULT, PAIRED, ORTHOGONAL, LOGISTIC, ORTHOGONAL_LOGISTIC),
        _counted("samples", 75, 100, 125, 250, 500),
        {"samples": 2000, "seed": 1},
        quantity="probability",
    ),
    Ladder(
        "kernelshap",
        (RANDOM, DEFAULT),
        _counted("samples", 125, 250, 500),
        {"samples": 2000, "seed": 1},
        quantity="logit",
    ),
    Ladder(
        "smoothgrad",
        (DEFAULT,),
        _counted("samples", 8, 16, 32),
        {"samples": 256, "seed": 1},
        method="saliency",
    ),
    Ladder(
        "integrated_gradients",
        (DEFAULT, Estimator("gauss_legendre", {"quadrature": "gauss_legendre"})),
        _counted("steps", 5, 10, 20),
        {"steps": 80, "quadrature": "gauss_legendre"},
    ),
    Ladder("scorecam", (DEFAULT,), _counted("channels", 20, 40, 80), {}),
    Ladder("occlusion", (DEFAULT,), _passes("stride", 32, 24, 16), {"stride": 8}, quantity="logit"),
    Ladder(
        "occlusion",
        (
            Estimator("coarse, interpolated", {"stride": 8}),
            Estimator("coarse to fine", {"stride": 8, "refine_from": 0.7}),
        ),
        _passes("coarse", 6, 4, 3, 2),
        {"stride": 8},
        quantity="logit",
    ),
)
