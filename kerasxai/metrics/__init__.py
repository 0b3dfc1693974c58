"""Metrics of localization: boxes, masks and pointing."""

from kerasxai.metrics.base import Metric, Result
from kerasxai.metrics.boxes import box_iou
from kerasxai.metrics.localization import GTKnownLoc, MaxBoxAcc, MaxBoxAccV2, MeanIoU, TopKLoc
from kerasxai.metrics.masks import MaskCoverage, PxAP
from kerasxai.metrics.pointing import EnergyPointingGame, PointingGame
from kerasxai.metrics.protocols import PROTOCOLS
from kerasxai.metrics.report import LocalizationReport

__all__ = [
    "PROTOCOLS",
    "EnergyPointingGame",
    "GTKnownLoc",
    "LocalizationReport",
    "MaskCoverage",
    "MaxBoxAcc",
    "MaxBoxAccV2",
    "MeanIoU",
    "Metric",
    "PointingGame",
    "PxAP",
    "Result",
    "TopKLoc",
    "box_iou",
]
