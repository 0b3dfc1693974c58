"""Memory of what goes over a whole data set, for 1,000 and for 100,000 images: `python -m benchmarks.features_memory`.

Images of 32x32 come from a generator, which holds one of them, and go through a small network. Each case runs in a
process of its own; what is told is the most memory that was resident beyond what was when the first batches were done
(the peak since then, as the kernel counts it). The vectors of `embed` go to a file.
"""

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

SIDE = 32
WARM = 2000


def images(count: int) -> Iterator[dict[str, Any]]:
    random = np.random.default_rng(0)
    for number in range(count):
        yield {
            "image": random.integers(0, 256, (SIDE, SIDE, 3), np.uint8),
            "label": number % 10,
            "name": f"image_{number:06d}",
        }


def network() -> Any:
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 3)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(16, 3, 2, activation="relu", padding="same"),
            layers.Conv2D(32, 3, 2, activation="relu", padding="same", name="maps"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10, activation="softmax"),
        ]
    )


def cases() -> dict[str, Callable[[Any, int], object]]:
    from kerasxai import features

    def embed(model: Any, count: int) -> object:
        with tempfile.TemporaryDirectory() as folder:
            found = features.embed(model, images(count), "maps", path=Path(folder, "vectors.npy"), batch_size=64)
            return found.vectors.shape

    return {
        "embed": embed,
        "top_patches": lambda m, n: features.top_patches(m, images(n), "maps", batch_size=64).values.shape,
        "activation_quantiles": lambda m, n: features.activation_quantiles(m, images(n), "maps", batch_size=64).shape,
    }


def resident(field: str) -> int:
    """A field of the kernel's account of this process, in kB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def measured(name: str, count: int, answer: Any) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    model = network()
    run = cases()[name]
    run(model, WARM)
    # Writing 5 makes the kernel count the peak anew.
    Path("/proc/self/clear_refs").write_text("5")
    before, start = resident("VmRSS"), time.perf_counter()
    run(model, count)
    answer.put({"peak": resident("VmHWM") - before, "seconds": time.perf_counter() - start})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=[1_000, 100_000])
    counts = parser.parse_args().counts
    context = multiprocessing.get_context("spawn")
    for name in ("embed", "top_patches", "activation_quantiles"):
        for count in counts:
            answer: Any = context.Queue()
            process = context.Process(target=measured, args=(name, count, answer))
            process.start()
            found = answer.get()
            process.join()
            row = {"case": name, "images": count, "more_MB": round(found["peak"] / 1024, 1)}
            print(json.dumps(row | {"seconds": round(found["seconds"], 1)}), flush=True)


if __name__ == "__main__":
    main()
