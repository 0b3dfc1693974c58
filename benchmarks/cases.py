"""The methods that are timed, and their targets."""

from dataclasses import dataclass, field
from typing import Any

STEPS, NOISY, PATCH, STRIDE, SAMPLES, MASKS = 50, 50, 32, 16, 1000, 1000


@dataclass(frozen=True)
class Case:
    """One method at one batch size.

    Attributes:
        name: The method; "smoothgrad" for saliency averaged over noise.
        batch: The number of images that are explained at once.
        target: The most that it should cost, in forward passes of the model on the same batch; None for no target.
        method: The method in `kerasxai.METHODS` if it has another name.
        options: The options of the method.
        passes: The forward passes (or gradients) of the plainest implementation; 0 for methods of one pass.
        gradients: Whether `passes` counts gradients at the input.
    """

    name: str
    batch: int
    target: float | None = None
    method: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    passes: int = 0
    gradients: bool = False


def _both(name: str, at_16: float | None, at_1: float | None) -> list[Case]:
    return [Case(name, 16, at_16), Case(name, 1, at_1)]


CASES = [
    *(
        case
        for name in ("cam", "gradcam", "gradcam++", "layercam", "hirescam", "xgradcam")
        for case in _both(name, 1.1, 1.2)
    ),
    *_both("eigencam", None, None),
    *(case for name in ("saliency", "guided_backprop", "deconvnet") for case in _both(name, 2.4, 2.5)),
    *_both("gradient*input", None, None),
    *_both("guided_gradcam", 3.3, 3.4),
    Case("ablationcam", 16, 8),
    Case("integrated_gradients", 1, 60, options={"steps": STEPS}, passes=STEPS, gradients=True),
    Case("smoothgrad", 1, 45, "saliency", {"smooth": "smoothgrad", "samples": NOISY}, NOISY, True),
    Case("occlusion", 1, 50, options={"patch": PATCH, "stride": STRIDE}, passes=169),
    Case("scorecam", 1, 450, options={"channels": 1280}, passes=1280),
    Case("lime", 1, 350, options={"samples": SAMPLES}, passes=SAMPLES),
    Case("kernelshap", 1, 350, options={"samples": SAMPLES}, passes=SAMPLES),
    Case("rise", 1, 300, options={"masks": MASKS}, passes=MASKS),
]
