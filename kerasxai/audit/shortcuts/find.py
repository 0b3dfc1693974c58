"""`find_shortcuts`: what the audit calls."""

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
from kerasxai.tools.printable import printable

_EVIDENCE_SIDE = 64
_MOST_SHEETS = 8
_DENSER_OUTSIDE = 1.0


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
    removed where it is; the control plants the same place of images of other classes, and removes as much elsewhere.
    Only marks that raise the class beyond the control are shortcuts; see `kerasxai.audit.shortcuts.verdict`.

    A mark that is in the training images only cannot be found in images without it: audit the training split.

    Args:
        images: The audited images; further ones are read from their data set.
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
    scene = _with_scores(_scene(images, explainer, settings), store, settings)
    classes = searched_classes(scene.labels)
    notes = _notes(scene, classes, images.split)
    if not classes:
        return ShortcutReport([], [], [], notes)
    evidence = store.arrays("shortcuts/evidence", lambda: {"maps": _evidence(images, scene)}, **asdict(settings))[
        "maps"
    ]
    results = tested(scene, suspects_of(scene, evidence, settings), settings.seed, _kept(store, settings))
    named = strongest(results)
    shortcuts = [record(scene, one) | {"also": also} for one, also in named]
    refused = [one for one in results if not one.confirmed]
    suspects = [record(scene, one) | {"reason": one.reason} for one in refused]
    suspects += _outside(scene, evidence, classes)
    shown = [*(one for one, _ in named), *refused][:_MOST_SHEETS]
    return ShortcutReport(shortcuts, suspects, [sheet_of(scene, one, settings.seed) for one in shown], notes)


def _scene(images: AuditImages, explainer: Explainer, settings: ShortcutSettings) -> Scene:
    """Return the images of the search: further ones if the data set has the classes of the model."""

    def probabilities(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        return explainer.predict(images.taken.taken(pixels)).probabilities

    available = images.dataset.info.splits.get(images.split, 0) if images.dataset is not None else 0
    comparable = available > len(images) and tuple(images.dataset.info.class_names) == tuple(images.class_names)
    if not comparable or settings.images <= len(images):
        kept = slice(0, settings.images)
        objects = None if images.objects is None else images.objects[kept]
        return Scene(images.pixels[kept], images.labels[kept], images.class_names, probabilities, objects)
    samples = images.dataset.examples(
        images.split, images.taken.size, settings.images, seed=settings.seed, fit=images.taken.fit
    )
    pixels = np.stack([np.clip(np.rint(np.asarray(sample["image"], np.float32)), 0, 255) for sample in samples])
    labels = np.array([int(sample["label"]) for sample in samples], np.int64)
    return Scene(pixels.astype(np.uint8), labels, images.class_names, probabilities, _objects(samples, images.size))


def _objects(samples: list[dict[str, NDArray[Any]]], size: tuple[int, int]) -> NDArray[np.bool_] | None:
    """Return where the objects of samples are, by masks or else boxes; None if some have neither."""
    if all("mask" in sample for sample in samples):
        return np.stack([sample["mask"] == OBJECT for sample in samples])
    if not all("boxes" in sample for sample in samples):
        return None
    scale = np.array([size[1], size[0]] * 2)
    return np.stack([painted(sample["boxes"] * scale, size) == OBJECT for sample in samples])


def _with_scores(scene: Scene, store: Store, settings: ShortcutSettings) -> Scene:
    """Return the scene with its predictions, which are stored."""
    found = store.arrays("shortcuts/log-odds", lambda: {"log_odds": scene.log_odds}, **asdict(settings))
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


def _kept(store: Store, settings: ShortcutSettings) -> Callable[[Suspect, Callable[[], Trial]], Trial]:
    """Return a function that stores the trials of suspects."""

    def kept(suspect: Suspect, make: Callable[[], Trial]) -> Trial:
        def made() -> dict[str, Any]:
            trial = make()
            return {name: value.tolist() if name == "hosts" else value for name, value in vars(trial).items()}

        about = {"class": suspect.class_number, "kind": suspect.kind, "members": suspect.members.tolist()}
        values = store.json("shortcuts/trial", made, **asdict(settings), **about, **suspect.figures)
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
        "A mark that only the training images have cannot be found in another split: audit the training split as well.",
    ]
    if len(classes) < len(np.unique(scene.labels)) or not classes:
        notes.append(f"Classes with fewer than {LEAST_IMAGES} images were not searched.")
    if scene.objects is None:
        notes.append("Without boxes or masks, marks differ from objects only in that pixels, colors or places repeat.")
    return notes
