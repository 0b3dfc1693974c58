"""Deprecated: evaluation is `kerasxai.evaluation.evaluate`."""

import sys

from kerasxai.evaluation.evaluate import evaluate
from kerasxai.tools.deprecation import warn_deprecated
from kerasxai.tools.lazy import resolve

__all__ = ["evaluate"]

warn_deprecated("kerasxai.training.evaluate", "kerasxai.evaluation.evaluate")

if __name__ == "__main__":
    sys.exit(resolve("kerasxai.cli:main")(["evaluate", *sys.argv[1:]]))
