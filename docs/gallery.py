"""Draw the pictures of the documentation: `make gallery`, or `python docs/gallery.py NAME...`.

`python docs/gallery.py --list` prints the names. The first group takes minutes, and `make gallery` draws it; the others
are results of long commands, which continue where they were stopped, and are drawn by their names.
"""

import argparse
import functools
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_sample_images

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent))

import kerasxai  # noqa: E402  (found by the line before)
from kerasxai import viz  # noqa: E402
from kerasxai.callbacks.map_files import Images, MapFiles, Maps  # noqa: E402
from kerasxai.cli import main as kerasxai_command  # noqa: E402
from kerasxai.localization import heatmap_to_boxes  # noqa: E402
from kerasxai.tools.printable import percent  # noqa: E402
from kerasxai.viz.overlays import visible_maximum  # noqa: E402

Picture = NDArray[np.uint8]
NETWORK = "imagenet:EfficientNetLite0"
SEED = 0

# Evidence through training.
EPOCHS, STEPS, BATCH = 18, 20, 16
SHOWN = 4
CELL = 184


@functools.cache
def network() -> keras.Model:
    """Load the ImageNet network once."""
    return kerasxai.models.load(NETWORK)


def explained(method: str, name: str = "cat") -> kerasxai.Explanation:
    """Explain an example photograph with an ImageNet network."""
    return kerasxai.explain(network(), kerasxai.data.example(name), method)


def over_photograph(method: str, name: str = "cat") -> tuple[Picture, bool]:
    """Draw a heatmap over an example photograph in its own proportions; also return whether the map is signed."""
    row, explanation = kerasxai.METHODS[method], explained(method, name)
    heatmap, signed = explanation.heatmaps[0], explanation.is_signed
    return viz.draw_heatmap(kerasxai.data.example(name), heatmap, row.pixelwise, row.relative, signed), signed


def draw_gallery(out: Path) -> None:
    """Draw all methods on one photograph, and a picture for each family of methods."""
    cells, signed = {"image": kerasxai.data.example("cat")}, {}
    for name in kerasxai.METHODS:
        cells[name], signed[name] = over_photograph(name)
    names = list(cells)
    rows = [names[start : start + 6] for start in range(0, len(names), 6)]
    pictures = [[cells[name] for name in row] for row in rows]
    save(
        out / "gallery.png",
        viz.grid(pictures, captions=rows, legend=viz.map_legend(signed.values()), cell_size=(136, 204)),
    )
    for family, methods in families().items():
        drawn, legend = ["image", *methods], viz.map_legend(signed[name] for name in methods)
        sheet = viz.grid([[cells[name] for name in drawn]], captions=[drawn], legend=legend, cell_size=(150, 225))
        Image.fromarray(sheet).save(out / "methods" / f"{family}.webp", quality=85, method=6)


def families() -> dict[str, list[str]]:
    """Return the methods by the module of their function, as the site has pages."""
    found: dict[str, list[str]] = {}
    for row in kerasxai.METHODS.values():
        found.setdefault(row.reference.partition(":")[0].rpartition(".")[2], []).append(row.name)
    return found


def draw_refinements(out: Path) -> None:
    """Draw CAM and the preset `best` on example photographs, with the box at 20 % of the maximum."""
    photographs = [*map(kerasxai.data.example, ("cat", "coffee", "astronaut")), *load_sample_images().images]
    rows = [[with_box(photograph, refine) for photograph in photographs] for refine in (None, "best")]
    legend = viz.map_legend(predicted=True)
    sheet = viz.grid(rows, row_labels=["cam", "cam, refine=best"], legend=legend, cell_size=(136, 184))
    save(out / "refinements.png", sheet)


def with_box(photograph: Picture, refine: str | None) -> Picture:
    """Draw a heatmap of CAM over a photograph, with the box that it gives."""
    heatmap = kerasxai.explain(network(), photograph, "cam", refine=refine).heatmaps[0]
    drawn = viz.draw_heatmap(photograph, heatmap, signed=False)
    scale = np.array(photograph.shape[1::-1]) / heatmap.shape[::-1]
    return viz.draw_boxes(drawn, heatmap_to_boxes(heatmap) * np.tile(scale, 2), dashed=True)


class Predictions(keras.callbacks.Callback):
    """The classes of the drawn images and the accuracy, before training and after each epoch.

    Args:
        drawn: The drawn images.
        images: Images whose accuracy is measured.
        labels: Their labels.
    """

    def __init__(self, drawn: NDArray, images: NDArray, labels: NDArray[np.int64]) -> None:
        super().__init__()
        self.drawn, self.images, self.labels = drawn, images, labels
        self.classes: list[NDArray[np.int64]] = []
        self.accuracy: list[float] = []

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Measure before the first epoch."""
        self.on_epoch_end(-1)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Measure after an epoch."""
        self.classes.append(self.model.predict(self.drawn, verbose=0).argmax(-1))
        predicted = self.model.predict(self.images, batch_size=64, verbose=0).argmax(-1)
        self.accuracy.append(float((predicted == self.labels).mean()))


def draw_evidence(out: Path) -> None:
    """Train a classifier of `shapes`, and animate the evidence for the true class from epoch to epoch."""
    dataset = kerasxai.data.open("shapes")
    validation = list(dataset.samples("validation", 160).take(96).as_numpy_iterator())
    images = np.stack([sample["image"] for sample in validation])
    labels = np.array([sample["label"] for sample in validation])
    drawn = chosen(validation)
    keras.utils.set_random_seed(SEED)
    model = kerasxai.build_classifier(
        "EfficientNetLite0",
        8,
        input_size=160,
        features="block3b_add",
        class_names=dataset.class_names,
        **{"depth": 2, "width": 96, "seed": SEED},
    )
    for layer in model.get_layer("backbone").layers:
        # The statistics of ImageNet suit small batches better than those of the batches.
        layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
    model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    settings = kerasxai.data.PairSettings(image_size=160, batch_size=BATCH, flip=True, seed=SEED)
    pairs = dataset.training_pairs("train", settings).repeat()
    with tempfile.TemporaryDirectory() as folder:
        explained = kerasxai.callbacks.ExplanationCallback(
            images[drawn], "true", labels=labels[drawn], log_dir=folder, class_names=dataset.class_names, png=False
        )
        predicted = Predictions(images[drawn], images, labels)
        model.fit(pairs, epochs=EPOCHS, steps_per_epoch=STEPS, callbacks=[predicted, explained], verbose=2)
        files = MapFiles(folder)
        shown = files.load_images()
        maps = [files.load("gradcam", epoch) for epoch in files.epochs("gradcam", shown.identity)]
    save_gif(out / "evidence.gif", [frame(shown, one, predicted, epoch) for epoch, one in enumerate(maps)])


def chosen(samples: list[dict[str, NDArray]]) -> list[int]:
    """Return the positions of the first image of each of some classes, with an object of medium size."""
    found: dict[int, int] = {}
    for position, sample in enumerate(samples):
        x0, y0, x1, y1 = sample["boxes"][0]
        if 0.15 < (x1 - x0) * (y1 - y0) < 0.4:
            found.setdefault(int(sample["label"]), position)
    return [found[label] for label in sorted(found)][:: len(found) // SHOWN][:SHOWN]


def frame(images: Images, maps: Maps, predicted: Predictions, epoch: int) -> Picture:
    """Draw the heatmaps of one epoch, the predictions below them, and the accuracy."""
    pictures = [
        viz.overlay(picture, heatmap, signed=False, maximum=visible_maximum(heatmap))
        for picture, heatmap in zip(images.pictures, np.maximum(maps.heatmaps, 0), strict=True)
    ]
    captions = [
        f"{'right' if label == one else 'wrong'}: {images.name_of(int(one))}"
        for label, one in zip(images.labels, predicted.classes[epoch], strict=True)
    ]
    when = "before training" if epoch == 0 else f"epoch {epoch} of {EPOCHS}"
    return viz.grid(
        [pictures],
        column_labels=[images.name_of(int(label)) for label in images.labels],
        captions=[captions],
        title=f"{when}: {percent(predicted.accuracy[epoch])} of validation images are right",
        legend=viz.map_legend([False]),
        cell_size=CELL,
        font_size=14,
    )


def save_gif(path: Path, frames: list[Picture], seconds: float = 0.35, rest: float = 2.5) -> None:
    """Write a GIF with one palette for all frames, so that colors do not flicker."""
    sample = Image.fromarray(np.concatenate(frames[:: max(1, len(frames) // 6)]))
    palette = sample.quantize(160, Image.Quantize.MEDIANCUT)
    images = [Image.fromarray(one).quantize(palette=palette, dither=Image.Dither.NONE) for one in frames]
    durations = [1000, *[round(1000 * seconds)] * (len(images) - 2), round(1000 * rest)]
    images[0].save(path, save_all=True, append_images=images[1:], duration=durations, loop=0, optimize=False)


def save(path: Path, picture: Picture) -> None:
    """Write a PNG, as small as it gets."""
    Image.fromarray(picture).save(path, optimize=True)


@dataclass(frozen=True)
class Made:
    """Pictures that a command writes.

    Attributes:
        commands: The commands; `{out}` is their folder.
        pictures: From the names in `docs/` to files in that folder.
    """

    commands: Sequence[str]
    pictures: Mapping[str, str]


DRAWN: dict[str, Callable[[Path], None]] = {
    "gallery": draw_gallery,
    "refinements": draw_refinements,
    "evidence": draw_evidence,
}
"""What `make gallery` draws."""
MADE = {
    "captions": Made(["caption --gallery 3 --out {out}"], {"captions.png": "gallery_gradcam.png"}),
    "answers": Made(["vqa --method hirescam --gallery 3 --out {out}"], {"answers.png": "gallery_hirescam.png"}),
    "segmentation": Made(
        [
            "train --data shapes_two --labels multi --out {out}/classifier",
            "segment --data shapes_two --seeds {out}/classifier --images 800 --validation-images 80 --test-images 200 "
            "--out {out}/segmenter",
        ],
        {"segmentation.png": "segmenter/sheets/epoch_0010.png"},
    ),
    "benchmark_shapes": Made(
        [
            "benchmark --data shapes --recipes gap,acol,has,cutmix,adl,spg --seeds 3 --image-size 128 --features "
            "block3a_project_bn --head-option width=64 --head-epochs 1 --epochs 5 --batch-size 16 --learning-rate 5e-3 "
            "--finetune-rate 1e-3 --recipe-option has.grids=[0,8,16,24,32] --out {out}"
        ],
        {"benchmark_shapes_sheet.png": "sheet.png", "benchmark_shapes_thresholds.png": "thresholds.png"},
    ),
}
"""What is drawn by name only, because it takes from minutes to hours."""
_ABSENT = "of photographs that are not in the repository; the page describes them"
KEPT = {"scores.png": _ABSENT}
"""What is not drawn again."""


def make(name: str, out: Path) -> None:
    """Run the commands of a picture, or continue them, and copy what they wrote."""
    folder = DOCS.parent / "runs" / "gallery" / name
    for command in MADE[name].commands:
        status = kerasxai_command(shlex.split(command.format(out=folder)))
        if status:
            raise SystemExit(status)
    for picture, file in MADE[name].pictures.items():
        shutil.copyfile(folder / file, out / picture)


def main() -> None:
    """Draw the pictures that are named, or those of `make gallery`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", choices=[*DRAWN, *MADE, []], metavar="NAME", help="pictures to draw")
    parser.add_argument("--list", action="store_true", help="print the names and end")
    parser.add_argument("--out", type=Path, default=DOCS, help="folder to write to (default: docs)")
    options = parser.parse_args()
    if options.list:
        print(f"drawn by make gallery: {', '.join(DRAWN)}\nby name: {', '.join(MADE)}")
        print(*(f"kept: {name}, {why}" for name, why in KEPT.items()), sep="\n")
        return
    (options.out / "methods").mkdir(parents=True, exist_ok=True)
    for name in options.names or DRAWN:
        print(name, flush=True)
        if name in DRAWN:
            DRAWN[name](options.out)
        else:
            make(name, options.out)


if __name__ == "__main__":
    main()
