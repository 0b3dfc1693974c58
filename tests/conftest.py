"""What has to stand before TensorFlow is imported.

A CPU convolves channels first by oneDNN only, and TensorFlow turns oneDNN on by itself only where the CPU has
instructions for neural networks. Asked for, it runs on any x86, so that tests do not depend on the machine's age.
"""

import gc
import os

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

# Tracing makes millions of small objects that stay; with Python's own threshold about a sixth of the time goes into
# searching them for garbage.
gc.set_threshold(100_000, 20, 50)
