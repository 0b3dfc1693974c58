"""A segmenter from image labels: seeds of a classifier, pseudo-masks, an encoder-decoder, and what each step reaches.

Run it as `kerasxai segment ...`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasxai import data, models
from kerasxai.engine.images.image_input import image_input
from kerasxai.evaluation.data_check import check_classes, check_splits
from kerasxai.evaluation.saved_results import differences
from kerasxai.models.trunk import trunk_of
from kerasxai.refinements.automatic import MOST, announce_choice
from kerasxai.segmentation import SeedIoU, label_map
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.files import read_json, write_json
from kerasxai.tools.folders import locked
from kerasxai.tools.model_settings import RUN_MODEL, model_path
from kerasxai.tools.options import BOX_THRESHOLD
from kerasxai.tools.printable import printable
from kerasxai.training.run_folder import RunFolder
from kerasxai.training.segment_config import Measuring, SegmentConfig
from kerasxai.training.segment_data import positive_classes, with_files, with_true_masks
from kerasxai.training.segment_fit import Lesson, SheetRow, fit_segmenter, new_segmenter
from kerasxai.training.segment_predictions import Predictor, write_predictions
from kerasxai.training.segment_seeds import SeedMaker, Tally, make_seeds, mask_file
from kerasxai.training.train import check_apart

SPLITS = ("train", "validation", "test")
RESULTS = "segmentation.json"
TRUE_MASKS = "true_masks"
_MEASURED = 100
"""Validation images whose true masks are measured after each epoch."""
JSON = dict[str, Any]


@dataclass(frozen=True)
class _Run:
    """What all steps have in common.

    Attributes:
        config: The settings.
        measuring: What is measured.
        out: The folder.
        dataset: The data, with several labels an image.
        maker: Makes seeds.
        size: Height and width of all images.
        fit: How images are fitted to it.
        verbose: As for `keras.Model.fit`.
    """

    config: SegmentConfig
    measuring: Measuring
    out: Path
    dataset: data.ImageDataset
    maker: SeedMaker
    size: tuple[int, int]
    fit: str
    verbose: int | str

    @property
    def num_classes(self) -> int:
        return self.dataset.info.num_classes

    def samples(self, split: str, annotations: bool, most: int | None = None) -> tf.data.Dataset:
        """Return the used samples of a split in their order, or at most so many of it; see `ImageDataset.samples`."""
        count = self.count(split) if most is None else min(most, self.count(split))
        return self.dataset.samples(split, self.size, with_annotations=annotations, fit=self.fit, part=count)

    def positions(self, split: str) -> list[int] | None:
        """Return the positions of the used samples of a split, or None for the first ones."""
        return self.dataset.spread(split, self.count(split))

    def count(self, split: str) -> int:
        """Return the number of images of a split that are used."""
        limits = {
            "train": self.config.images,
            "validation": self.config.validation_images,
            "test": self.measuring.test_images,
        }
        most = limits[split]
        there = self.dataset.info.splits[split]
        return there if most is None else min(most, there)


def segment(
    config: SegmentConfig, out: str | Path, measuring: Measuring | None = None, verbose: int | str = "auto"
) -> JSON:
    """Train a segmenter from image labels; a stopped run continues, and ends with the same weights.

    A classifier makes class maps of the training images for their image labels, refinements sharpen them, and pixels
    on which both agree become the labels of pseudo-masks; others are ignored in training. The segmenter takes images
    alone. True masks are only compared with seeds, pseudo-masks and predictions; with `measuring.true_masks` a second
    segmenter is trained on them, the upper bound.

    Args:
        config: The settings.
        out: Folder of the run: `config.json`, `command.txt`, `pseudo_masks/`, `predictions/` and `refined_predictions/`
            (palette PNGs with the names of the images), `sheets/`, `history.csv`, `history.png`, `segmentation.json`,
            `model.keras`, and `true_masks/` with the second segmenter.
        measuring: What is measured; None for the defaults.
        verbose: As for `keras.Model.fit`.

    Returns:
        The content of `segmentation.json`: for each step the mean IoU on training and test images, by class.

    Raises:
        KerasxaiError: The data, the classifier or an option is wrong, or the folder contains another run.

    Example:
        >>> segment(SegmentConfig("shapes_two", seeds="runs/x"), "runs/seg")["test"]["segmenter"]["mean_iou"]
    """
    out = Path(out)
    check_apart(out, config.data)
    # Locked, because two processes that continue the same run would overwrite each other's files.
    with locked(out):
        return _segment(config, out, measuring or Measuring(), verbose)


def _segment(config: SegmentConfig, out: Path, measuring: Measuring, verbose: int | str) -> JSON:
    config.check_same(out)
    dataset = data.open(config.data, data_dir=config.data_dir, labels="multi", class_masks=config.class_masks)
    check_splits(dataset.info, SPLITS)
    if measuring.true_masks and not dataset.info.has_class_masks:
        raise KerasxaiError(f"expected data with class masks for true_masks, got {dataset.info.name} without masks")
    classifier = models.load_classifier(_model_file(config.seeds))
    taken = image_input(classifier)
    check_classes(dataset.info, classifier, taken)
    run = _Run(config, measuring, out, dataset, SeedMaker(classifier, config), taken.size, taken.fit, verbose)
    # Built before anything is written, so that a mistake leaves no folder behind.
    new_segmenter(backbone_of(config), run.num_classes, run.size, config)
    _check_images(run)
    dataset.check_images(SPLITS)
    config.write(out)
    write_json(_images(run), _splits(run))

    _choose_refinement(run)
    tallies = {split: _seeds(run, split) for split in SPLITS}
    _fit(run, true_masks=False)
    if measuring.true_masks:
        _fit(run, true_masks=True)
    results = _results(run, tallies)
    write_json(out / RESULTS, results)
    return results


def _images(run: _Run) -> Path:
    return run.out / "seeds" / "images.json"


def _splits(run: _Run) -> dict[str, int]:
    return {split: run.dataset.info.splits[split] for split in SPLITS}


def _check_images(run: _Run) -> None:
    """Refuse to continue on data that have grown: seeds of an earlier call are found by their number in the split."""
    # Runs of older versions have no such file.
    before = read_json(_images(run)) if _images(run).exists() else _splits(run)
    differing = differences(before, _splits(run))
    if differing:
        raise KerasxaiError(
            f"expected the images that {printable(run.out)} was begun with, got more or fewer "
            f"({'; '.join(differing)}); choose another --out"
        )


def _model_file(seeds: str) -> str:
    file = model_path(seeds)
    if file == seeds and (Path(seeds) / "config.json").exists():
        raise KerasxaiError(f"expected a finished run as seeds, got {printable(seeds)} without {RUN_MODEL}")
    return file


def backbone_of(config: SegmentConfig) -> str | keras.Model:
    """Return the name of the backbone, or a model that shares no variable with the classifier of the seeds."""
    if config.backbone is None:
        return trunk_of(models.load_classifier(_model_file(config.seeds)))
    return config.backbone if config.backbone in models.BACKBONES else models.load(config.backbone)


def _masks(run: _Run) -> Path:
    return run.out / "pseudo_masks"


def _choose_refinement(run: _Run) -> None:
    """Choose the refinement `"auto"` on images of all classes, the same in a continued run."""
    if run.maker.chooses_refinement:
        announce_choice(min(MOST, run.count("train")))
        samples = run.samples("train", annotations=False, most=MOST)
        run.maker.choose_refinement(np.stack([sample["image"] for sample in samples.as_numpy_iterator()]))


def _seeds(run: _Run, split: str) -> Tally:
    """Make the seeds of a split; those of test images are measured only, no pseudo-mask of them is written."""
    masks = None if split == "test" else _masks(run) / split
    record = run.out / "seeds" / f"{split}.json"
    tally = Tally.read(record, run.num_classes, run.positions(split))
    return make_seeds(run.maker, _numpy(run, split), run.count(split), record, masks, tally)


def _numpy(run: _Run, split: str, most: int | None = None) -> Any:
    return run.samples(split, run.dataset.info.has_class_masks, most).as_numpy_iterator()


def _fit(run: _Run, true_masks: bool) -> None:
    """Train the segmenter on pseudo-masks, or in a subfolder on true masks."""
    out = run.out / TRUE_MASKS if true_masks else run.out
    if RunFolder(out).model.exists():
        return
    pairs = {}
    for split in ("train", "validation"):
        if true_masks:
            pairs[split] = with_true_masks(run.samples(split, annotations=True), run.count(split))
        else:
            names = run.samples(split, annotations=False)
            files = [
                mask_file(_masks(run) / split, {} if name is None else {"name": name}, number)
                for number, name in enumerate(_names(names))
            ]
            pairs[split] = with_files(run.samples(split, annotations=False), files)
    measured = run.samples("validation", True, _MEASURED) if run.dataset.info.has_class_masks else None
    lesson = Lesson(
        pairs["train"], pairs["validation"], run.count("train"), measured, _sheet(run), run.measuring.refine_predictions
    )
    model = new_segmenter(backbone_of(run.config), run.num_classes, run.size, run.config)
    fit_segmenter(model, lesson, out, run.config, run.verbose)


def _names(samples: tf.data.Dataset) -> list[bytes | None]:
    if "name" not in samples.element_spec:
        return [None for _ in samples]
    # Without the images, which are then not even decoded.
    return list(samples.map(lambda sample: sample["name"]).as_numpy_iterator())


def _sheet(run: _Run) -> list[SheetRow]:
    """Return a few validation images with their true masks, seeds and pseudo-masks."""
    rows: list[SheetRow] = []
    most, threshold = run.measuring.sheet_images, _seed_threshold(run)
    if not most:
        return rows
    for sample in _numpy(run, "validation", most):
        (seeds,) = run.maker(sample["image"][None], [positive_classes(sample["labels"])])
        columns = {"true mask": sample["class_mask"]} if "class_mask" in sample else {}
        columns["seeds"] = label_map(seeds.maps, seeds.classes, threshold=threshold, size=run.size)
        rows.append(SheetRow(sample["image"], columns | {"pseudo-mask": seeds.mask}))
    return rows


def _seed_threshold(run: _Run) -> float:
    """Return the best threshold on training images, if these have true masks."""
    sweep = Tally.read(run.out / "seeds" / "train.json", run.num_classes, run.positions("train")).metrics.get("seeds")
    return BOX_THRESHOLD if sweep is None else float(sweep.result()["threshold"])


def _results(run: _Run, tallies: dict[str, Tally]) -> JSON:
    """Return the figures of all steps: sweeps at their best threshold on training images, if these have true masks."""
    steps: JSON = {"train": {}, "test": {}}
    # The first split with true masks: thresholds of training images are kept for others.
    tuned = next((split for split in SPLITS if tallies[split].metrics), None)
    chosen = {} if tuned is None else tallies[tuned].metrics
    for split, figures in steps.items():
        for name, metric in tallies[split].metrics.items():
            if isinstance(metric, SeedIoU):
                figures[name] = metric.result(chosen[name].result()["threshold"])
                del figures[name]["curve"]
            else:
                figures[name] = metric.result()
    folders = {"segmenter": run.out} | ({"true_masks": run.out / TRUE_MASKS} if run.measuring.true_masks else {})
    for name, folder in folders.items():
        predictor = Predictor.of(models.load(folder), run.measuring.refine_predictions)
        count = run.count("test")
        batches = run.samples("test", run.dataset.info.has_class_masks).batch(run.config.batch_size)
        steps["test"] |= write_predictions(predictor, batches.as_numpy_iterator(), count, folder, name)
    labeled = {split: tally.labeled[0] / max(1, tally.labeled[1]) for split, tally in tallies.items()}
    images = {split: tally.done for split, tally in tallies.items()}
    names = list(run.dataset.class_names)
    return {"class_names": names, "images": images, "labeled_pixels": labeled, "thresholds_of": tuned, **steps}
