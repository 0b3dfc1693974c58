"""`find_shortcuts`: what the audit calls."""

import logging
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerasxai.audit.images import AuditImages
from kerasxai.audit.shortcuts.evidence import density_outside
from kerasxai.audit.shortcuts.scene import Scene
from kerasxai.audit.shortcuts.search import searched_classes, strongest, suspects_of, tested
from kerasxai.audit.shortcuts.settings import ShortcutSettings
from kerasxai.audit.shortcuts.sheets import Sheet, sheet_of
from kerasxai.audit.shortcuts.suspects import LEAST_IMAGES, Suspect
from kerasxai.audit.shortcuts.trial import Trial
from kerasxai.audit.shortcuts.verdict import record
from kerasxai.audit.store import Store
from kerasxai.explainer import Explainer
from kerasxai.metrics.inputs import OBJECT, painted
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.printable import printable

_EVIDENCE_SIDE = 64
_MOST_SHEETS = 8
_DENSER_OUTSIDE = 1.0
_TRAINING = "train"
_MOST_READ = 10_000
"""Images of a training split: all of them may have to be decoded, to choose evenly over the classes."""

_LOG = logging.getLogger(__name__)


class ShortcutReport(NamedTuple):
    """What was found.

    Attributes:
        shortcuts: Marks that the intervention confirms, the strongest first, ready for JSON.
        suspects: The same of what was suspected and not confirmed.
        sheets: Pictures of both.
        notes: Sentences on what was looked for and what was not.
    """

    shortcuts: list[dict[str, Any]]
    suspects: list[dict[str, Any]]
    sheets: list[Sheet]
    notes: list[str]


def find_shortcuts(
    images: AuditImages,
    explainer: Explainer,
    *,
    settings: ShortcutSettings | None = None,
    store: Store | None = None,
) -> ShortcutReport:
    """Search for marks that a classifier decides by, and test them by intervention.

    A mark is something that many images of one class have in common, and others have not: the same pixels or edges at a
    constant place, a patch of the same pixels anywhere, colors or textures that are recognized without the object, or a
    place away from the evidence of other classes that heatmaps share. It is planted into images of other classes, and
    removed where it is; the control plants the same place of images of other classes, and changes as much but keeps
    the mark. Only marks that raise the class beyond the control are shortcuts; see `kerasxai.audit.shortcuts.verdict`.

    A model learns marks from its training images, so these are searched if the data set has them; else the audited
    split is.

    Args:
        images: The audited images. The images that are searched are read from their data set.
        explainer: Predicts. Heatmaps of the class of each image are those of Grad-CAM, whatever its method.
        settings: The settings; None for the defaults.
        store: Keeps what takes long; None keeps nothing.

    Returns:
        The shortcuts, the suspects, pictures and notes.

    Example:
        >>> find_shortcuts(images, kerasxai.Explainer(model, "gradcam")).shortcuts
        []
    """
    settings = settings or ShortcutSettings()
    store = store or Store(None, {})
    scene, split = _scene(images, explainer, settings)
    about = asdict(settings) | {"searched": split}
    scene = _with_scores(scene, store, about)
    classes = searched_classes(scene.labels)
    notes = _notes(scene, classes, split)
    if not classes:
        return ShortcutReport([], [], [], notes)
    evidence = store.arrays("shortcuts/evidence", lambda: {"maps": _evidence(images, scene)}, **about)["maps"]
    results = tested(scene, suspects_of(scene, evidence, settings), settings.seed, _kept(store, about))
    named = strongest(results)
    shortcuts = [record(scene, one) | {"also": also} for one, also in named]
    refused = [one for one in results if not one.confirmed]
    suspects = [record(scene, one) | {"reason": one.reason} for one in refused]
    suspects += _outside(scene, evidence, classes)
    shown = [*(one for one, _ in named), *refused][:_MOST_SHEETS]
    return ShortcutReport(shortcuts, suspects, [sheet_of(scene, one, settings.seed) for one in shown], notes)


def _scene(images: AuditImages, explainer: Explainer, settings: ShortcutSettings) -> tuple[Scene, str]:
    """Return the images of the search and their split: the training split if the data set has the model's classes."""

    def probabilities(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        return explainer.predict(images.taken.taken(pixels)).probabilities

    for split in _further_splits(images, settings):
        try:
            samples = images.dataset.examples(
                split, images.taken.size, settings.images, seed=settings.seed, fit=images.taken.fit
            )
        except KerasxaiError as error:
            # The audit has checked the images of its own split only.
            _LOG.warning("shortcuts are not searched in the split %s: %s", split, error)
            continue
        pixels = np.stack([np.clip(np.rint(np.asarray(sample["image"], np.float32)), 0, 255) for sample in samples])
        labels = np.array([int(sample["label"]) for sample in samples], np.int64)
        objects = _objects(samples, images.size)
        return Scene(pixels.astype(np.uint8), labels, images.class_names, probabilities, objects), split
    kept = slice(0, settings.images)
    objects = None if images.objects is None else images.objects[kept]
    return Scene(images.pixels[kept], images.labels[kept], images.class_names, probabilities, objects), images.split


def _further_splits(images: AuditImages, settings: ShortcutSettings) -> list[str]:
    """Return the splits to read images of, the best first: the training split, and a larger part of the audited one."""
    if images.dataset is None or tuple(images.dataset.info.class_names) != tuple(images.class_names):
        return []
    counts = images.dataset.info.splits
    found = []
    if images.split != _TRAINING and LEAST_IMAGES <= counts.get(_TRAINING, 0) <= _MOST_READ:
        found.append(_TRAINING)
    if counts.get(images.split, 0) > len(images) and settings.images > len(images):
        found.append(images.split)
    return found


def _objects(samples: list[dict[str, NDArray[Any]]], size: tuple[int, int]) -> NDArray[np.bool_] | None:
    """Return where the objects of samples are, by masks or else boxes; None if some have neither."""
    if all("mask" in sample for sample in samples):
        return np.stack([sample["mask"] == OBJECT for sample in samples])
    if not all("boxes" in sample for sample in samples):
        return None
    scale = np.array([size[1], size[0]] * 2)
    return np.stack([painted(sample["boxes"] * scale, size) == OBJECT for sample in samples])


def _with_scores(scene: Scene, store: Store, about: dict[str, Any]) -> Scene:
    """Return the scene with its predictions, which are stored."""
    found = store.arrays("shortcuts/log-odds", lambda: {"log_odds": scene.log_odds}, **about)
    scene.__dict__["log_odds"] = found["log_odds"]
    return scene


def _evidence(images: AuditImages, scene: Scene) -> NDArray[np.float32]:
    """Return heatmaps for the class of each image, `(N, 64, 64)`."""
    explainer = Explainer(images.model, "gradcam", batch_size=16)
    made = []
    for start in range(0, len(scene), 32):
        rows = slice(start, start + 32)
        maps = explainer(images.taken.taken(scene.pixels[rows]), scene.labels[rows]).heatmaps
        made.append(tf.image.resize(maps[..., None], (_EVIDENCE_SIDE,) * 2, antialias=True).numpy()[..., 0])
    return np.concatenate(made)


def _kept(store: Store, about: dict[str, Any]) -> Callable[[Suspect, Callable[[], Trial]], Trial]:
    """Return a function that stores the trials of suspects."""

    def kept(suspect: Suspect, make: Callable[[], Trial]) -> Trial:
        def made() -> dict[str, Any]:
            trial = make()
            return {name: value.tolist() if name == "hosts" else value for name, value in vars(trial).items()}

        tested = {"class": suspect.class_number, "kind": suspect.kind, "members": suspect.members.tolist()}
        values = store.json("shortcuts/trial", made, **about, **tested, **suspect.figures)
        return Trial(**{**values, "hosts": np.array(values["hosts"], np.int64)})

    return kept


def _outside(scene: Scene, evidence: NDArray[np.float32], classes: list[int]) -> list[dict[str, Any]]:
    """Return the classes with more evidence per area outside of their objects than inside, as suspects."""
    found = []
    for number in classes:
        density = density_outside(scene, evidence, number)
        if density is not None and density > _DENSER_OUTSIDE:
            name = scene.class_names[number]
            text = f"{printable(name)}: {density:.1f} times as much evidence per area outside of the objects as inside"
            figures = {"density_outside": round(density, 3), "reason": "no intervention tests this", "sentence": text}
            found.append({"class": name, "kind": "outside", **figures})
    return found


def _notes(scene: Scene, classes: list[int], split: str) -> list[str]:
    notes = [
        f"Marks were searched in {len(scene)} images of the split {split}, in {len(classes)} of "
        f"{len(scene.class_names)} classes.",
    ]
    if split != _TRAINING:
        notes.append("A mark that only the training images have cannot be found in another split.")
    if len(classes) < len(np.unique(scene.labels)) or not classes:
        notes.append(f"Classes with fewer than {LEAST_IMAGES} images were not searched.")
    if scene.objects is None:
        notes.append("Without boxes or masks, marks differ from objects only in that pixels, colors or places repeat.")
    return notes
