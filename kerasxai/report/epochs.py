"""The maps that `ExplanationCallback` logged in training, for a slider over epochs."""

from pathlib import Path

import numpy as np

from kerasxai.callbacks.map_files import Images, MapFiles
from kerasxai.report.gallery import Group
from kerasxai.report.packing import packed, packed_picture, peak, picture_size, small_map
from kerasxai.report.runs import ReportedRun
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.options import BOX_THRESHOLD

MOST_EPOCHS = 30
EPOCH_IMAGES = "validation"
"""The split of the images that `kerasxai train` explains in each epoch."""


def epoch_groups(runs: list[ReportedRun]) -> list[Group]:
    """Return a group of images with maps by epoch for each training that logged maps."""
    groups = [_group(run) for run in runs if run.training is not None]
    return [group for group in groups if group is not None]


def _group(run: ReportedRun) -> Group | None:
    assert run.training is not None
    files = MapFiles(run.training.folder)
    try:
        images = files.load_images()
    except KerasxaiError:
        return None
    folders = sorted(path for path in (files.folder / "maps").iterdir() if path.is_dir())
    variants = [_variant(run, files, path, images) for path in folders]
    known = [variant for variant in variants if variant["steps"]]
    if not known:
        return None
    classes = [images.name_of(number) for number in range(max(len(images.class_names), int(images.labels.max()) + 1))]
    return Group(f"{run.name}: epochs of the training, {EPOCH_IMAGES} images", classes, _images(images), [], known)


def _variant(run: ReportedRun, files: MapFiles, folder: Path, images: Images) -> dict[str, object]:
    epochs = list(files.epochs(folder.name, images.identity))
    if len(epochs) > MOST_EPOCHS:
        epochs = [epochs[number] for number in np.linspace(0, len(epochs) - 1, MOST_EPOCHS).round().astype(int)]
    steps = []
    for epoch in epochs:
        maps = files.load(folder.name, epoch)
        pairs = [(target, small_map(one)) for target, one in zip(maps.targets.tolist(), maps.heatmaps, strict=True)]
        steps.append(
            {
                "epoch": epoch,
                "maps": [[(target, packed(one))] for target, one in pairs],
                "peaks": [[peak(one)] for _, one in pairs],
            }
        )
    return {
        "name": f"{run.name}: {folder.name}",
        "model": None,
        "threshold": BOX_THRESHOLD,
        "chosen_by": "usual in the literature",
        "command": None,
        "code": None,
        "steps": steps,
    }


def _images(images: Images) -> list[dict[str, object]]:
    height, width = picture_size((images.pictures.shape[1], images.pictures.shape[2]))
    return [
        {
            "name": f"image {number + 1}",
            "picture": packed_picture(picture),
            "width": width,
            "height": height,
            "truth": [int(label)] if label >= 0 else [],
            "unknown": [],
            "boxes": [],
            "box_labels": None,
            "share": None,
            "size": None,
            "file": None,
            "load": None,
        }
        for number, (picture, label) in enumerate(zip(images.pictures, images.labels, strict=True))
    ]
