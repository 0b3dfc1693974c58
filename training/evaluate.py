"""Deprecated: evaluation is `kerasxai.evaluation.evaluate`."""

import sys
import warnings

from kerasxai.evaluation import evaluate_options
from kerasxai.evaluation.evaluate import evaluate, run
from kerasxai.tools.commands import run_module

__all__ = ["evaluate", "run"]

warnings.warn(
    "kerasxai.training.evaluate is deprecated; use kerasxai.evaluation.evaluate", DeprecationWarning, stacklevel=2
)

if __name__ == "__main__":
    sys.exit(run_module("kerasxai.training.evaluate", evaluate_options, run))
