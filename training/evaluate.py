"""Deprecated: evaluation is `kerasxai.evaluation.evaluate`."""

import sys

from kerasxai.evaluation.evaluate import evaluate, run
from kerasxai.evaluation.evaluate_options import EVALUATE
from kerasxai.tools.commands import run_module
from kerasxai.tools.deprecation import warn_deprecated

__all__ = ["evaluate", "run"]

warn_deprecated("kerasxai.training.evaluate", "kerasxai.evaluation.evaluate")

if __name__ == "__main__":
    sys.exit(run_module("kerasxai.training.evaluate", EVALUATE, run))
