"""A tiny trained and evaluated run on disk, with a class of a hostile name and maps of three epochs."""

import json
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from test_multi_label_evaluation import LABELS, NAMES, draw, model_of_colors

from kerasxai.callbacks.map_files import Images, MapFiles, Maps
from kerasxai.evaluation.config import EvaluateConfig
from kerasxai.evaluation.evaluate import evaluate, evaluate_methods
from kerasxai.tools.digests import model_identity

SIZE = 40
HOSTILE = "<script>alert(1)<&script>"
CLASSES = (HOSTILE, "cat")
IMAGES = 6
"""Of each class in each split."""


def write_photos(folder: Path) -> Path:
    """Write images of two classes, a bright square on noise, and return their boxes as CSV."""
    chance = np.random.default_rng(0)
    lines = ["image,x0,y0,x1,y1"]
    for split in ("train", "validation", "test"):
        for label, name in enumerate(CLASSES):
            (folder / split / name).mkdir(parents=True)
            for number in range(IMAGES):
                pixels = chance.integers(0, 90, (48, 60, 3)).astype(np.uint8)
                x, y, side = (int(one) for one in chance.integers((2, 2, 14), (24, 18, 28)))
                pixels[y : y + side, x : x + side, label] = 255
                file = f"{split}/{name}/{number}.png"
                Image.fromarray(pixels).save(folder / file)
                lines.append(f"{file},{x},{y},{x + side},{y + side}")
    boxes = folder.parent / "boxes.csv"
    boxes.write_text("\n".join(lines) + "\n")
    return boxes


def write_folders(
    folder: Path, count: int, corrupt: int, draw: Callable[[np.random.Generator, int], NDArray[np.uint8]]
) -> None:
    """Write images into three folders below a folder, one of which cannot be read."""
    chance = np.random.default_rng(0)
    for number in range(count):
        path = folder / f"folder{number % 3}" / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw(chance, number)).save(path)
        if number == corrupt:
            path.write_bytes(b"no image")


def tiny_model(seed: int) -> keras.Model:
    """Return a classifier of two classes with a map of 10 positions a side."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.Conv2D(6, 5, strides=4, padding="same", activation="relu", name="maps")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(x))


def write_run(folder: Path, photos: Path, boxes: Path, seed: int = 0) -> Path:
    """Write what `kerasxai train` and `kerasxai evaluate` leave in a folder."""
    folder.mkdir(parents=True)
    model = tiny_model(seed)
    model.save(folder / "model.keras")
    config = {"data": str(photos), "backbone": "tiny", "recipe": None, "head": "gap", "epochs": 3, "seed": seed}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "choices.json").write_text(json.dumps({"image_size": SIZE, "reasons": {"image_size": "tiny"}}))
    (folder / "command.txt").write_text("kerasxai train --data photos --out run\n")
    rows = ["phase,epoch,seconds,loss,val_loss,val_accuracy"]
    rows += [f"finetune,{n},1.5,{0.9 - n / 5},{0.8 - n / 9},{0.5 + n / 8}" for n in range(3)]
    (folder / "history.csv").write_text("\n".join(rows) + "\n")
    best = {"phase": "finetune", "epoch": 2, "seconds": 1.5, "loss": 0.5, "val_loss": 0.58, "val_accuracy": 0.75}
    (folder / "metrics.json").write_text(json.dumps({"best": best, "epochs": 3, "seconds": 4.5, "plan": {}}))
    evaluate_methods(
        model,
        EvaluateConfig(str(photos), boxes_csv=str(boxes)),
        ["cam", "gradient*input"],
        out=folder / "evaluation_methods",
        progress=False,
        about={"model": model_identity(str(folder / "model.keras"))},
    )
    return folder


def write_epochs(folder: Path) -> None:
    """Write the maps of three epochs as `ExplanationCallback` does."""
    chance = np.random.default_rng(1)
    files = MapFiles(folder)
    pictures = chance.integers(0, 255, (4, SIZE, SIZE, 3)).astype(np.uint8)
    images = Images(pictures, np.array([0, 1, 0, 1]), np.array(CLASSES), "digest")
    files.save_images(images)
    for epoch in (1, 2, 3):
        heatmaps = chance.random((4, SIZE, SIZE)).astype(np.float32)
        files.save("gradcam", epoch, Maps(heatmaps, np.array([1, 1, 0, 1]), np.ones(4, np.float32)), images.identity)


def write_run_of_several_labels(folder: Path) -> Path:
    """Write an evaluated run on images with one to three colored rectangles, each of a class."""
    chance, lines = np.random.default_rng(0), ["file,split,blue,green,red"]
    model = model_of_colors()
    coco: dict[str, list[dict[str, object]]] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": number + 1, "name": name} for number, name in enumerate(NAMES)],
    }
    photos = folder / "photos"
    photos.mkdir(parents=True)
    for split in ("train", "validation", "test"):
        for number, classes in enumerate(LABELS):
            pixels, boxes = draw(chance, classes)
            name, identity = f"{split}{number}.png", len(lines)
            Image.fromarray(pixels).save(photos / name)
            lines.append(f"{name},{split},{','.join(str(int(one in classes)) for one in range(3))}")
            coco["images"].append(
                {"id": identity, "file_name": name, "height": pixels.shape[0], "width": pixels.shape[1]}
            )
            for kind, (x0, y0, x1, y1) in zip(classes, boxes, strict=True):
                box = {"bbox": [x0, y0, x1 - x0, y1 - y0], "category_id": kind + 1, "iscrowd": 0}
                coco["annotations"].append({"id": len(coco["annotations"]) + 1, "image_id": identity} | box)
    (photos / "labels.csv").write_text("\n".join(lines))
    (folder / "boxes.json").write_text(json.dumps(coco))
    run = folder / "run"
    run.mkdir()
    model.save(run / "model.keras")
    config = EvaluateConfig(str(photos), boxes_csv=str(folder / "boxes.json"), labels="multi")
    evaluate(
        model,
        config,
        out=run / "evaluation_cam",
        progress=False,
        about={"model": model_identity(str(run / "model.keras"))},
    )
    return run


def without_announcement(text: str) -> list[str]:
    """Return the lines on stderr without those in which `kerasxai localize` announces its work."""
    announced = ("kerasxai localize: threshold ", "kerasxai localize: thresholds ")
    return [
        line for line in text.splitlines() if not line.startswith(announced) and "--refine none takes none" not in line
    ]
