"""Deprecated: the report is in `kerasxai.metrics`, its baselines are in `kerasxai.metrics.baselines`."""

from numpy.typing import NDArray

from kerasxai.metrics import baselines
from kerasxai.metrics.baselines import CENTERED_SIDE, GAUSSIAN_SIGMA, centered_box, centered_gaussian
from kerasxai.metrics.protocols import protocol_of
from kerasxai.metrics.records import SIZES, TOP_K
from kerasxai.metrics.report import LocalizationReport
from kerasxai.tools.deprecation import warn_deprecated

__all__ = [
    "CENTERED_SIDE",
    "GAUSSIAN_SIGMA",
    "SIZES",
    "TOP_K",
    "LocalizationReport",
    "centered_box",
    "centered_gaussian",
    "gaussian_boxes",
]

warn_deprecated("kerasxai.metrics.evaluation", "kerasxai.metrics and kerasxai.metrics.baselines")


def gaussian_boxes(size: tuple[int, int], thresholds: tuple[float, ...], protocol: str) -> NDArray:
    """Deprecated: return the boxes of the centered Gaussian at every threshold."""
    return baselines.gaussian_boxes(size, thresholds, protocol_of(protocol))
