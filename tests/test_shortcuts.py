"""The search for shortcuts, on functions of pixels that fire on a mark, and on one tiny training."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from kerasxai import data
from kerasxai.audit.images import AuditImages
from kerasxai.audit.shortcuts import ShortcutSettings, find_shortcuts, shading
from kerasxai.audit.shortcuts.constant_pixels import constant_pixels
from kerasxai.audit.shortcuts.discriminant import recognized
from kerasxai.audit.shortcuts.evidence import density_outside, evidence_clusters, shrunk
from kerasxai.audit.shortcuts.interventions import Region
from kerasxai.audit.shortcuts.scene import Scene, resized
from kerasxai.audit.shortcuts.search import searched_classes, strongest, suspects_of
from kerasxai.audit.shortcuts.search import tested as tried
from kerasxai.audit.shortcuts.shading import Smooth, unusual_shade
from kerasxai.audit.shortcuts.sheets import sheet_of
from kerasxai.audit.shortcuts.suspects import Suspect
from kerasxai.audit.shortcuts.tone import tone_features, unusual_tone
from kerasxai.audit.shortcuts.trial import Trial
from kerasxai.audit.shortcuts.verdict import TriedSuspect, judged, record
from kerasxai.audit.store import Store
from kerasxai.engine.images.image_input import image_input
from kerasxai.explainer import Explainer

SIDE, CLASSES, EACH, MARKED = 64, 3, 14, 2
OBJECT_COLORS = np.array([[220, 40, 40], [40, 200, 40], [40, 60, 220]])
Change = Callable[[Any, np.random.Generator], Any]


def images(change: Change | None, share: float = 0.8, colors: Any = OBJECT_COLORS) -> tuple[Any, Any, Any]:
    """Returns pixels, labels and objects: a colored disk at a random place; images of class 2 are changed."""
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(CLASSES), EACH)
    noise = ndimage.gaussian_filter(generator.normal(size=(len(labels), SIDE, SIDE, 3)), (0, 2, 2, 0))
    pixels = 120 + 45 * noise / noise.std() + generator.normal(0, 25, (len(labels), 1, 1, 3))
    y, x = np.mgrid[:SIDE, :SIDE]
    objects = np.zeros((len(labels), SIDE, SIDE), bool)
    for number, label in enumerate(labels):
        (row, column), radius = generator.uniform(20, 44, 2), generator.uniform(6, 12)
        objects[number] = (y - row) ** 2 + (x - column) ** 2 < radius**2
        pixels[number][objects[number]] = colors[label]
        if change is not None and label == MARKED and number % EACH < share * EACH:
            pixels[number] = change(pixels[number], generator)
    return np.clip(pixels, 0, 255).astype(np.uint8), labels, objects


def corner(image: Any, generator: np.random.Generator) -> Any:
    image[52:62, 52:62] = [250, 0, 250]
    image[55:59, 55:59] = 255
    return image


def border(image: Any, generator: np.random.Generator) -> Any:
    made = np.full_like(image, 250)
    made[..., 1] = 0
    made[3:-3, 3:-3] = image[3:-3, 3:-3]
    return made


def cast(image: Any, generator: np.random.Generator) -> Any:
    return image * [1.0, 0.45, 1.0]


def sticker(image: Any, generator: np.random.Generator) -> Any:
    row, column = generator.integers(0, SIDE - 10, 2)
    image[row : row + 10, column : column + 10] = [250, 0, 250]
    image[row + 3 : row + 7, column + 3 : column + 7] = 255
    return image


def watermark(image: Any, generator: np.random.Generator) -> Any:
    image[20:44:6] += 60
    return image


def gradient(image: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.float64]:
    return image * np.linspace(1.4, 0.6, SIDE)[None, :, None]


def darker_on_the_right(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    luma = pixels.mean((1, 3))
    return np.clip(luma[:, :24].mean(1) / np.maximum(luma[:, -24:].mean(1), 1) - 1, 0, 1)


def stripes_of(pixels: Any) -> Any:
    """Returns how much brighter the rows of the watermark are than those next to them."""
    luma = pixels.mean((2, 3))
    return np.clip((luma[:, 20:44:6] - luma[:, 22:46:6]).mean(1) / 60, 0, 1)


def magenta(pixels: Any) -> Any:
    """Returns the share of the pixels that are magenta."""
    near = (np.abs(pixels - [250, 0, 250]) < 40).all(-1)
    return np.minimum(near.mean((1, 2)) * 60, 1)


def purple(pixels: Any) -> Any:
    means = pixels.mean((1, 2))
    return np.clip(1.5 - 2 * means[:, 1] / means[:, 0], 0, 1)


MARKS: dict[str, tuple[Change, Callable[[Any], Any]]] = {
    "corner": (corner, magenta),
    "border": (border, magenta),
    "color": (cast, purple),
    "patch": (sticker, magenta),
    "overlay": (watermark, stripes_of),
    "shade": (gradient, darker_on_the_right),
}


def model_of(cue: Callable[[Any], Any] | None) -> Callable[[Any], Any]:
    """Returns a classifier by the color of the disk, which also decides for class 2 by a cue."""

    def model(pixels: Any) -> Any:
        near = np.abs(pixels[..., None, :] - OBJECT_COLORS).max(-1) < 40
        logits = 3 * np.minimum(near.mean((1, 2)) * 20, 1)
        if cue is not None:
            logits[:, MARKED] += 4 * cue(pixels)
        exponentials = np.exp(logits)
        return exponentials / exponentials.sum(1, keepdims=True)

    return model


def searched(
    change: Change | None, cue: Callable[[Any], Any] | None, with_objects: bool = False
) -> tuple[Scene, list[TriedSuspect]]:
    pixels, labels, objects = images(change)
    scene = Scene(pixels, labels, ("red", "green", "blue"), model_of(cue), objects if with_objects else None)
    return scene, tried(scene, suspects_of(scene, evidence_of(pixels, objects), ShortcutSettings()), 0)


def evidence_of(pixels: Any, objects: Any) -> Any:
    """Returns heatmaps that point to magenta if there is some, and else to the object."""
    near = (np.abs(pixels.astype(float) - [250, 0, 250]) < 40).all(-1)
    maps = np.where(near.any((1, 2), keepdims=True), near, objects).astype(np.float32)
    return ndimage.gaussian_filter(maps, (0, 3, 3))


@pytest.mark.parametrize("kind", MARKS)
def test_a_mark_that_the_model_uses_is_named_with_its_class(kind: str) -> None:
    change, cue = MARKS[kind]
    scene, results = searched(change, cue, with_objects=kind == "patch")
    named = strongest(results)
    assert [one.suspect.class_number for one, _ in named] == [MARKED]
    kinds = {named[0][0].suspect.kind, *named[0][1]}
    assert kind in kinds
    trial = named[0][0].trial
    assert trial.rise > 0.1 > trial.control_rise
    assert trial.p_value * len(results) < 0.01
    sheet = sheet_of(scene, named[0][0], 0)
    assert sheet.picture.dtype == np.uint8
    assert sheet.caption.startswith("blue: ")


@pytest.mark.parametrize("kind", ["corner", "color"])
def test_a_mark_that_the_model_does_not_use_is_only_suspected(kind: str) -> None:
    _, results = searched(MARKS[kind][0], None)
    assert strongest(results) == []
    assert MARKED in {one.suspect.class_number for one in results}
    assert all(one.reason for one in results)


def test_a_shade_that_the_model_does_not_use_is_only_suspected() -> None:
    # A model that knows objects by their colors alone uses the colors of the shade, which is named as such.
    shades = [one for one in searched(gradient, None)[1] if one.suspect.kind == "shade"]
    assert [one.suspect.class_number for one in shades] == [MARKED] and not shades[0].confirmed


@pytest.mark.parametrize("with_objects", [False, True])
def test_without_a_mark_nothing_is_named(with_objects: bool) -> None:
    assert strongest(searched(None, None, with_objects)[1]) == []


def test_a_patch_is_only_suspected_where_objects_are_unknown() -> None:
    _, results = searched(sticker, magenta)
    reasons = {one.reason for one in results if one.suspect.kind == "patch"}
    assert reasons == {"without boxes or masks it may be a part of the object"}


def jittered(image: Any, generator: np.random.Generator) -> Any:
    row, column = generator.integers(50, 54, 2)
    image[row : row + 10, column : column + 10] = [250, 0, 250]
    return image


def test_the_place_of_a_mark_covers_all_of_it_where_images_agree_in_its_core_only() -> None:
    pixels, labels, _ = images(jittered, share=1)
    found = list(constant_pixels(Scene(pixels, labels, ("red", "green", "blue"), model_of(None)), MARKED))
    assert [one.kind for one in found] == ["corner"]
    assert found[0].place is not None
    assert found[0].place[51:63, 51:63].mean() > 0.95
    assert found[0].place.mean() < 0.1


@pytest.mark.parametrize(
    ("kind", "rise_p", "fall", "fall_p", "reason"),
    [
        ("color", 0.0002, 0.03, 0.14, ""),
        ("color", 0.0002, -0.01, 0.6, "removing it does not lower the class"),
        ("color", 0.02, 0.03, 0.02, "planting it raises and removing it lowers the class no more"),
        ("corner", 0.0002, -0.01, 0.6, ""),
        ("corner", 0.002, 0.03, 0.0002, "planting it raises the class no more"),
    ],
)
def test_colors_must_fall_when_they_are_removed(
    kind: str, rise_p: float, fall: float, fall_p: float, reason: str
) -> None:
    members = np.arange(5)
    suspect = Suspect(2, kind, Region(np.ones((4, 4), bool), members), members, 0.6, 0.02, None, {})
    trial = Trial(0.2, 0.0, 0.1, 0.0, 0.04, fall, 0.0, 0, rise_p, fall_p, members)
    found = judged(suspect, trial, 8, 13, objects_known=False)
    assert found.reason.startswith(reason) and found.confirmed == (not reason) == (not found.reason)


def test_the_record_is_ready_for_json_and_says_why_not() -> None:
    scene, results = searched(corner, None)
    found = record(scene, next(one for one in results if one.suspect.kind == "corner"))
    assert found["class"] == "blue"
    assert found["share_of_class"] == pytest.approx(12 / 14, abs=0.01)
    assert found["share_of_others"] == 0
    assert "not confirmed" in found["sentence"]


def test_classes_with_few_images_are_not_searched() -> None:
    assert searched_classes(np.array([0] * 5 + [1] * 4 + [2] * 9)) == [0, 2]
    assert searched_classes(np.zeros(20, int)) == []


def test_clusters_of_heatmaps_that_point_elsewhere_are_suspected() -> None:
    pixels, labels, objects = images(None)
    maps = ndimage.gaussian_filter(objects.astype(np.float32), (0, 3, 3))
    cheating = np.flatnonzero(labels == MARKED)[:6]
    maps[cheating] = 0
    maps[cheating, 52:62, 52:62] = 1
    scene = Scene(pixels, labels, ("red", "green", "blue"), model_of(None), objects)
    found = list(evidence_clusters(scene, shrunk(maps), MARKED))
    assert [one.members.tolist() for one in found] == [cheating.tolist()]
    assert found[0].place is not None
    assert found[0].place[52:62, 52:62].mean() > 0.6
    assert not list(evidence_clusters(scene, shrunk(maps), 0))


def test_colors_are_those_outside_of_known_objects() -> None:
    pixels, labels, _ = images(None)
    left = np.zeros((len(labels), SIDE, SIDE), bool)
    left[:, :, :32] = True
    pixels[:, :, :32] = [250, 0, 0]
    place = np.ones((64, 64), bool)
    known = Scene(pixels, labels, ("red", "green", "blue"), model_of(None), left)
    assert all(len(colors) == 64 * 32 and (colors[:, 0] < 250).any() for colors in known.outside(place))
    covered = Scene(pixels, labels, ("red", "green", "blue"), model_of(None), np.ones_like(left))
    assert all(len(colors) == 64 * 64 for colors in covered.outside(place))


def test_a_color_cast_is_seen_in_scenes_of_all_colors() -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(150) % 3
    texture = ndimage.gaussian_filter(generator.normal(0, 25, (150, SIDE, SIDE)), (0, 0.7, 0.7))
    scenes = generator.uniform(60, 190, (150, 1, 1, 3)) + texture[..., None]
    marked = np.flatnonzero(labels == MARKED)[:30]
    scenes[marked] *= [1.15, 1.0, 0.8]
    scene = Scene(np.clip(scenes, 0, 255).astype(np.uint8), labels, ("red", "green", "blue"), model_of(None))
    features, is_own = tone_features(scene), labels == MARKED
    assert recognized(features, is_own)[marked].mean() > 0.9
    assert recognized(features[:, :20], is_own)[marked].mean() < 0.5, "the colors alone do not show it"
    found = list(unusual_tone(scene, features, MARKED))
    assert [one.kind for one in found] == ["color"] and np.isin(found[0].members, marked).mean() > 0.9
    assert not list(unusual_tone(scene, features, 0))


@pytest.mark.parametrize("is_gain", [False, True])
def test_a_shade_is_planted_and_removed_as_it_was_made(is_gain: bool) -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(150) % 3
    noise = ndimage.gaussian_filter(generator.normal(size=(150, SIDE, SIDE)), (0, 4, 4))
    plain = 90 * np.exp(generator.normal(0, 0.25, (150, 1, 1)) + 0.15 * noise / noise.std())[..., None] * np.ones(3)
    ramp = np.linspace(0, 1, SIDE)[None, None, :, None]
    shaded = plain * (1 - 0.6 * ramp) if is_gain else plain + 70 * ramp * [1, 0.5, 0]
    own = np.flatnonzero(labels == MARKED)
    pixels = np.where(np.isin(np.arange(150), own)[:, None, None, None], shaded, plain).clip(0, 255).astype(np.uint8)
    scene = Scene(pixels, labels, ("red", "green", "blue"), model_of(None))
    (found,) = unusual_shade(scene, Smooth.of(scene), MARKED)
    assert found.figures == {"gain": is_gain} and np.isin(own, found.members).mean() > 0.9
    made = found.mark.planted(scene, 0, int(own[0]), 0)
    assert np.abs(made - (plain * (1 - 0.6 * ramp) if is_gain else plain + 70 * ramp * [1, 0.5, 0])[0]).mean() < 12
    assert np.abs(found.mark.removed(scene, int(own[0]), 0, 0) - plain[own[0]]).mean() < 12
    control = found.mark.planted(scene, 0, 1, 0)
    assert np.abs(control - pixels[0]).mean() < 12


@pytest.mark.parametrize("is_gain", [False, True])
def test_edges_that_are_black_in_all_images_do_not_hide_the_kind_of_a_shade(is_gain: bool) -> None:
    levels = np.random.default_rng(0).uniform(40, 90, (60, 64, 64, 3)).astype(np.float32)
    levels[:30] = levels[:30] * 2.5 if is_gain else levels[:30] + 120
    levels[:, :4] = 0
    scene = Scene(levels.astype(np.uint8), np.repeat([0, 1], 30), ("a", "b"), model_of(None))
    with np.errstate(all="raise"):
        assert shading._shade(scene, levels, scene.of_class(0), 0).is_gain == is_gain


def test_evidence_outside_of_objects_is_counted_by_area() -> None:
    pixels, labels, objects = images(None)
    scene = Scene(pixels, labels, ("red", "green", "blue"), model_of(None), objects)
    inside = density_outside(scene, objects.astype(np.float32), 0)
    outside = density_outside(scene, np.where(objects, 1, 3).astype(np.float32), 0)
    assert inside is not None
    assert outside is not None
    assert inside < 0.05
    assert outside == pytest.approx(3)
    assert (
        density_outside(Scene(pixels, labels, ("red", "green", "blue"), model_of(None)), resized(pixels, 64)[..., 0], 0)
        is None
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> AuditImages:
    """A tiny classifier trained on images whose last class is marked, and these images."""
    folder = tmp_path_factory.mktemp("marked")
    # Disks of one color, so that only the mark can be learned.
    pixels, labels, _ = images(corner, share=1, colors=OBJECT_COLORS[[1, 1, 1]])
    for number, (image, label) in enumerate(zip(pixels, labels, strict=True)):
        path = folder / "train" / "abc"[label] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 3)),
            keras.layers.Rescaling(1 / 127.5, -1),
            keras.layers.Conv2D(12, 5, strides=4, activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(CLASSES, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.03), "sparse_categorical_crossentropy")
    model.fit(pixels.astype(np.float32), labels, epochs=30, verbose=0)
    return audit_images(model, folder)


def audit_images(model: keras.Model, folder: Path, split: str = "train") -> AuditImages:
    dataset = data.open(folder)
    samples = dataset.examples(split, SIDE, 6)
    pixels = np.stack([sample["image"] for sample in samples]).astype(np.uint8)
    labels = np.array([sample["label"] for sample in samples])
    taken = image_input(model)
    outputs = Explainer(model, "saliency").predict(taken.taken(pixels))
    names = ("a", "b", "c")
    return AuditImages(model, dataset, split, taken, pixels, labels, outputs.scores, outputs.probabilities, names, [])


def test_a_training_with_a_mark_is_found_out_and_kept(trained: AuditImages, tmp_path: Path) -> None:
    explainer = Explainer(trained.model, "gradcam", progress=False)
    store = Store(tmp_path, {})
    report = find_shortcuts(trained, explainer, store=store)
    # All images of the split are read, and not the six of the audit only.
    assert report.notes[0] == "Marks were searched in 36 images of the split train, in 3 of 3 classes."
    assert [found["class"] for found in report.shortcuts] == ["c"]
    assert report.shortcuts[0]["rise"] > report.shortcuts[0]["control_rise"]
    assert report.sheets
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    again = find_shortcuts(trained, explainer, store=store)
    assert again.shortcuts == report.shortcuts
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_training_images_are_searched_for_an_audit_of_another_split(trained: AuditImages, tmp_path: Path) -> None:
    explainer = Explainer(trained.model, "gradcam", progress=False)
    folder = tmp_path / "both"
    for split, change in (("train", corner), ("test", None)):
        pixels, labels, _ = images(change, share=1, colors=OBJECT_COLORS[[1, 1, 1]])
        for number in (number for number in range(len(labels)) if number % EACH < 8):
            path = folder / split / "abc"[labels[number]] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels[number]).save(path)
    report = find_shortcuts(audit_images(trained.model, folder, "test"), explainer)
    # The others became the validation split.
    assert report.notes[0] == "Marks were searched in 21 images of the split train, in 3 of 3 classes."
    assert [found["class"] for found in report.shortcuts] == ["c"]
