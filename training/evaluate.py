"""Deprecated: evaluation is `kerasxai.evaluation.evaluate`."""

import sys
import warnings

from kerasxai.evaluation.evaluate import evaluate, run
from kerasxai.evaluation.evaluate_options import EVALUATE
from kerasxai.tools.commands import run_module

__all__ = ["evaluate", "run"]

warnings.warn(
    "kerasxai.training.evaluate is deprecated; use kerasxai.evaluation.evaluate", DeprecationWarning, stacklevel=2
)

if __name__ == "__main__":
    sys.exit(run_module("kerasxai.training.evaluate", EVALUATE, run))
