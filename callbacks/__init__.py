"""Keras callbacks that explain and measure while a model trains."""

from kerasxai.callbacks.audit import AuditCallback
from kerasxai.callbacks.drawing import draw_timeline
from kerasxai.callbacks.embedding import EmbeddingCallback
from kerasxai.callbacks.explanation import ExplanationCallback
from kerasxai.callbacks.localization import LocalizationCallback

__all__ = ["AuditCallback", "EmbeddingCallback", "ExplanationCallback", "LocalizationCallback", "draw_timeline"]
