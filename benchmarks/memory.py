"""How peak memory grows with the number of samples: `python -m benchmarks memory`.

Each figure is the largest resident memory of a process of its own, which explains one image with MobileNetV2 (alpha
0.35, random weights) at 224. A stack of 4000 such images alone would take 2408 MB. From 400 samples on weights are
frozen, which takes memory of its own.
"""

import argparse
import resource
import subprocess
import sys
from typing import Any

OPTIONS: dict[str, Any] = {
    "rise": lambda n: {"masks": n},
    "lime": lambda n: {"samples": n},
    "kernelshap": lambda n: {"samples": n},
    "integrated_gradients": lambda n: {"steps": n},
    "smoothgrad": lambda n: {"smooth": "smoothgrad", "samples": n},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--methods", nargs="+", default=list(OPTIONS), choices=OPTIONS, metavar="METHOD")
    parser.add_argument("--samples", nargs="+", type=int, default=[400, 4000])


def run(arguments: argparse.Namespace) -> None:
    print("peak resident memory in MB, and how many samples\n" + f"{'method':22}", end="")
    print("".join(f"{count:>8}" for count in arguments.samples), flush=True)
    for method in arguments.methods:
        figures = [_in_a_process(method, count) for count in arguments.samples]
        print(f"{method:22}" + "".join(f"{figure:8.0f}" for figure in figures), flush=True)


def _in_a_process(method: str, count: int) -> float:
    command = [sys.executable, "-m", "benchmarks.memory", method, str(count)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _peak(method: str, count: int) -> float:
    import keras
    import numpy as np

    import kerasxai

    model = keras.applications.MobileNetV2(weights=None, alpha=0.35)
    name = "saliency" if method == "smoothgrad" else method
    explain = kerasxai.Explainer(model, name, progress=False, **OPTIONS[method](count))
    explain(np.random.default_rng(0).uniform(-1, 1, (1, 224, 224, 3)).astype(np.float32))
    # Linux counts kilobytes, macOS bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


if __name__ == "__main__":
    print(_peak(sys.argv[1], int(sys.argv[2])))
