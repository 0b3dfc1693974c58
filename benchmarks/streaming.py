"""Throughput and memory of explaining a folder in shards: `python -m benchmarks.streaming`.

Images are made first. Then, in one process: the bare method on a batch in memory, reading and resizing alone, and
`kerasxai explain --data` with the resident memory after each shard. With `--model` the network is another one, such as
imagenet:EfficientNetLite0 with `--side 500 --images 160 --shards 2`; its images are JPEG files.
"""

import argparse
import json
import logging
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def write_images(folder: Path, count: int, side: int) -> None:
    """Write JPEG files of smooth noise, 1,000 in a folder."""
    random = np.random.default_rng(0)
    for number in range(count):
        path = folder / f"{number // 1000:04d}" / f"{number:07d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        small = Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8))
        small.resize((side, side), Image.Resampling.BICUBIC).save(path, quality=90)


def network(side: int) -> Any:
    """Return a small classifier of square images."""
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((side, side, 3)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(32, 3, 1, activation="relu", padding="same"),
            layers.Conv2D(64, 3, 2, activation="relu", padding="same"),
            layers.Conv2D(128, 3, 2, activation="relu", padding="same"),
            layers.Conv2D(128, 3, 2, activation="relu", padding="same", name="maps"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10, activation="softmax"),
        ]
    )


def resident() -> float:
    """Return the resident memory of this process in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def main() -> None:
    """Measure, and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--shards", type=int, default=20)
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--model", default=None)
    parser.add_argument("--method", default="gradcam")
    parser.add_argument("--batch-size", type=int, default=32)
    options = parser.parse_args()

    from kerasxai import Explainer, models
    from kerasxai.engine.images.image_input import image_input
    from kerasxai.streaming.explain import ExplainTask, merge_explanations
    from kerasxai.streaming.images import open_images
    from kerasxai.streaming.shards import Shard, ShardFolder

    logging.getLogger("kerasxai").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        write_images(root / "images", options.images, options.side)
        model = network(options.side) if options.model is None else models.load_classifier(options.model)
        taken = image_input(model)
        explainer = Explainer(model, options.method, resize=False, progress=False, batch_size=options.batch_size)
        images = open_images(str(root / "images"), "", root / "out")

        batch = taken.taken(next(iter(images.batches(0, options.batch_size, taken, options.batch_size))).pixels)
        explainer(batch)
        begun, begun_core, passes = time.perf_counter(), time.process_time(), 0
        while passes < 5 or time.process_time() - begun_core < 5:
            explainer(batch)
            passes += 1
        bare = options.batch_size * passes / (time.perf_counter() - begun)
        bare_core = (time.process_time() - begun_core) / (options.batch_size * passes)

        begun, begun_core, count = time.perf_counter(), time.process_time(), min(options.images, 2000)
        for _ in images.batches(0, count, taken, options.batch_size):
            pass
        reading = count / (time.perf_counter() - begun)
        reading_core = (time.process_time() - begun_core) / count

        task = ExplainTask([explainer], taken, batch_size=options.batch_size)
        folder = ShardFolder(root / "out", {}, images.count, options.shards)
        memory: list[float] = []

        def compute(shard: Shard) -> None:
            task.compute(shard, images)
            memory.append(resident())

        begun, begun_core = time.perf_counter(), time.process_time()
        folder.compute(folder.left(), compute)
        merge_explanations(folder.complete(), root / "out")
        streamed = images.count / (time.perf_counter() - begun)
        streamed_core = (time.process_time() - begun_core) / images.count
        size = sum(path.stat().st_size for path in (root / "out").rglob("*") if path.is_file())
    found = {
        **{name: value for name, value in vars(options).items() if value is not None},
        "bare_per_second": round(bare, 1),
        "reading_per_second": round(reading, 1),
        "streamed_per_second": round(streamed, 1),
        "share_of_bare": round(streamed / bare, 3),
        # Processor time, which does not depend on what else the machine does.
        "bare_core_ms": round(1000 * bare_core, 3),
        "reading_core_ms": round(1000 * reading_core, 3),
        "streamed_core_ms": round(1000 * streamed_core, 3),
        "share_of_bare_core": round(bare_core / streamed_core, 3),
        "bytes_per_image": round(size / images.count),
        "resident_MB": [round(one) for one in memory],
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
