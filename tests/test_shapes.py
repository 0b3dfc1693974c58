"""The drawn data set: exact annotations, disjoint splits, and a class that nothing but the head tells."""

import colorsys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from kerasxai.data.shapes import backgrounds, draw, forms, patterns

SIZE = 160
HEAD, BODY, TAIL = draw.HEAD, draw.BODY, draw.TAIL


@pytest.fixture(scope="module")
def scenes() -> list[draw.Scene]:
    return [draw.draw_sample((seed,), "train", seed % 8, SIZE) for seed in range(160)]


def bounds(mask: np.ndarray) -> tuple[int, int, int, int]:
    """The box of a mask the slow way: x0, y0, x1, y1, the last two one past the end."""
    points = [(x, y) for y in range(len(mask)) for x in range(mask.shape[1]) if mask[y, x]]
    xs, ys = [x for x, _ in points], [y for _, y in points]
    return min(xs), min(ys), max(xs) + 1, max(ys) + 1


def test_boxes_are_tight(scenes: list[draw.Scene]) -> None:
    for scene in scenes[:16]:
        np.testing.assert_allclose(scene.boxes[0] * SIZE, bounds(scene.part_masks[0] > 0), atol=1e-4)


def test_every_object_has_its_parts_and_lies_in_the_image(scenes: list[draw.Scene]) -> None:
    for scene in scenes:
        mask = scene.part_masks[0]
        assert scene.image.shape == (SIZE, SIZE, 3) and scene.image.dtype == np.uint8
        assert set(np.unique(mask)) == {0, HEAD, BODY, TAIL}
        x0, y0, x1, y1 = scene.boxes[0] * SIZE
        longer = max(x1 - x0, y1 - y0)
        assert 0.25 * SIZE - 2 <= longer <= 0.8 * SIZE + 2
        parts, count = ndimage.label(mask > 0, structure=np.ones((3, 3)))
        assert np.bincount(parts.ravel())[1:].max() > 0.95 * (mask > 0).sum(), f"{count} loose parts"


def test_heads_span_two_feature_cells_and_bodies_are_larger(scenes: list[draw.Scene]) -> None:
    sides, larger = [], []
    for scene in scenes:
        head = bounds(scene.part_masks[0] == HEAD)
        sides.append(min(head[2] - head[0], head[3] - head[1]))
        larger.append((scene.part_masks[0] == BODY).sum() > (scene.part_masks[0] == HEAD).sum())
    assert min(sides) >= 16
    assert np.mean(larger) > 0.9


def test_sizes_and_places_are_spread_out(scenes: list[draw.Scene]) -> None:
    boxes = np.stack([scene.boxes[0] for scene in scenes])
    longer = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    assert longer.min() < 0.32 and longer.max() > 0.73
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    assert (centers.min(axis=0) < 0.25).all() and (centers.max(axis=0) > 0.75).all()


def test_the_same_seed_draws_the_same_bytes_and_others_do_not() -> None:
    first, again = (draw.draw_sample((5,), "train", 3, SIZE) for _ in range(2))
    assert first.image.tobytes() == again.image.tobytes()
    assert first.part_masks[0].tobytes() == again.part_masks[0].tobytes()
    assert first.image.tobytes() != draw.draw_sample((6,), "train", 3, SIZE).image.tobytes()
    assert first.image.tobytes() != draw.draw_sample((5,), "test", 3, SIZE).image.tobytes()


@pytest.mark.parametrize("name", backgrounds.PHOTOGRAPHS)
def test_no_pixel_of_a_photograph_is_in_two_splits(name: str) -> None:
    random = np.random.default_rng(0)
    used = {split: np.zeros(backgrounds.photograph(name).size, bool) for split in backgrounds.SPLITS}
    for split, pixels in used.items():
        for _ in range(50):
            x0, y0, x1, y1 = backgrounds.place(random, name, split)
            # A crop is enlarged with a bicubic kernel, which reaches two pixels beyond it.
            pixels[int(np.floor(x0)) - 2 : int(np.ceil(x1)) + 2, int(np.floor(y0)) : int(np.ceil(y1))] = True
        assert pixels.mean() > 0.1
    assert not (used["train"] & used["validation"]).any()
    assert not (used["train"] & used["test"]).any()
    assert not (used["validation"] & used["test"]).any()


def test_heads_are_unique_and_bodies_shared_by_two() -> None:
    named = [name.split() for name in draw.CLASSES]
    assert {pattern for pattern, _ in named} == set(patterns.PATTERNS)
    assert {form for _, form in named} == set(forms.FORMS)
    assert len(draw.CLASSES) == len(patterns.PATTERNS) == len(forms.FORMS) == 8
    assert sorted(draw.BODY_OF) == sorted([*patterns.TEXTURES, *patterns.TEXTURES])


def test_patterns_and_textures_are_half_light_and_the_head_has_more_contrast() -> None:
    x, y = np.random.default_rng(0).uniform(-0.4, 0.4, size=(2, 20000))
    far_x, far_y = np.random.default_rng(0).uniform(-9.0, 9.0, size=(2, 20000))
    for name, pattern in patterns.PATTERNS.items():
        values = pattern(x, y, 0.01)
        assert values.min() >= 0.0 and values.max() <= 1.0
        assert 0.4 < values.mean() < 0.6, name
        assert values.std() > 0.4, name
    for name, texture in patterns.TEXTURES.items():
        values = texture(far_x, far_y, 0.01)
        assert 0.45 < values.mean() < 0.55, name
        assert 0.2 < values.std() < 0.45, name


@pytest.mark.parametrize("form", forms.FORMS)
def test_outlines_are_about_equally_large(form: str) -> None:
    points = forms.outline(form)
    area, center = forms.area_and_centroid(points)
    np.testing.assert_allclose(center, 0.0, atol=1e-9)
    np.testing.assert_allclose((2.0 * np.sqrt(area / np.pi) + forms.mean_width(points)) / 2.0, 1.0)


@pytest.mark.parametrize("share", [0.1, 0.37, 1.5])
def test_coverage_sums_to_the_area(share: float) -> None:
    points = forms.ellipse(40.0, 20.0) * share + np.array([31.3, 30.2])
    alpha, window = draw.coverage(points, 64)
    assert alpha.shape == (window[0].stop - window[0].start, window[1].stop - window[1].start)
    area, _ = forms.area_and_centroid(points)
    inside = np.zeros((64, 64), np.float32)
    inside[window] = alpha
    np.testing.assert_allclose(inside.sum(), area, rtol=0.1, atol=2.0)


def test_coverage_outside_of_the_image_is_empty() -> None:
    alpha, _ = draw.coverage(forms.ellipse(10.0, 10.0) - 50.0, 64)
    assert alpha.size == 0


def test_a_scene_may_hold_several_objects() -> None:
    random = np.random.default_rng(1)
    below, above = (draw.sample_object(random, label, 0.4, SIZE) for label in (0, 5))
    apart = [(0, below, np.array([4.0, 4.0])), (5, above, np.array([90.0, 90.0]))]
    scene = draw.draw_scene(random, "test", apart, SIZE)
    assert scene.labels == [0, 5] and scene.boxes.shape == (2, 4)
    assert not ((scene.part_masks[0] > 0) & (scene.part_masks[1] > 0)).any()
    for box, mask in zip(scene.boxes, scene.part_masks, strict=True):
        np.testing.assert_allclose(box * SIZE, bounds(mask > 0), atol=1e-4)
    covered = draw.draw_scene(random, "test", [(0, below, np.zeros(2)), (5, above, np.zeros(2))], SIZE)
    assert (covered.part_masks[1] > 0).sum() > 0.98 * (scene.part_masks[1] > 0).sum()
    assert (covered.part_masks[0] > 0).sum() < (scene.part_masks[0] > 0).sum()


def clues(scene: draw.Scene) -> dict[str, list[float]]:
    """All that must not tell the class: place, size, the parts' mean colors, and the image around the object."""
    pixels, mask = scene.image / 255.0, scene.part_masks[0]
    x0, y0, x1, y1 = (float(edge) for edge in scene.boxes[0])
    colors: list[float] = []
    for part in (HEAD, BODY, TAIL):
        hue, saturation, value = colorsys.rgb_to_hsv(*pixels[mask == part].mean(axis=0))
        colors += [np.cos(2 * np.pi * hue), np.sin(2 * np.pi * hue), saturation, value]
    side = len(mask)
    around = pixels.copy()
    around[int(y0 * side) : round(y1 * side), int(x0 * side) : round(x1 * side)] = 0.5
    coarse = around.reshape(4, side // 4, 4, side // 4, 3).mean(axis=(1, 3))
    outside = pixels[mask == 0]
    return {
        "place": [(x0 + x1) / 2, (y0 + y1) / 2],
        "size": [x1 - x0, y1 - y0],
        "color": colors,
        "background": [*coarse.ravel(), *outside.mean(axis=0), *outside.std(axis=0)],
    }


@pytest.fixture(scope="module")
def clues_and_labels() -> tuple[dict[str, np.ndarray], np.ndarray]:
    count = 2400
    drawn = [clues(draw.draw_sample((seed,), "train", seed % 8, 80)) for seed in range(count)]
    found = {kind: np.array([one[kind] for one in drawn]) for kind in drawn[0]}
    found["all"] = np.concatenate(list(found.values()), axis=1)
    return found, np.arange(count) % 8


@pytest.mark.parametrize("kind", ["place", "size", "color", "background", "all"])
def test_what_is_not_the_head_does_not_tell_the_class(
    kind: str, clues_and_labels: tuple[dict[str, np.ndarray], np.ndarray]
) -> None:
    features, labels = clues_and_labels[0][kind], clues_and_labels[1]
    half = len(labels) // 2
    # Four standard errors of an accuracy of 1/8 above chance.
    most = 1 / 8 + 4 * np.sqrt(1 / 8 * 7 / 8 / half)
    for model in (
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        RandomForestClassifier(60, min_samples_leaf=3, random_state=0),
    ):
        accuracy = model.fit(features[:half], labels[:half]).score(features[half:], labels[half:])
        assert accuracy < most, f"{kind} tells the class: {accuracy:.3f} where chance is 0.125"


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    from kerasxai.data.shapes import builder as module

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "COUNTS", {"train": 16, "validation": 8, "test": 8})
        made = module.Shapes(data_dir=str(tmp_path_factory.mktemp("tfds")))
        made.download_and_prepare()
        yield made


def test_the_builder_stores_what_was_drawn(builder) -> None:
    assert builder.name == "shapes"
    assert {name: split.num_examples for name, split in builder.info.splits.items()} == {
        "train": 16,
        "validation": 8,
        "test": 8,
    }
    assert tuple(builder.info.features["label"].names) == draw.CLASSES
    for example in builder.as_dataset(split="validation").as_numpy_iterator():
        index = int(example["file_name"].decode().removeprefix("validation-").removesuffix(".png"))
        scene = draw.draw_sample((1_000_000 + index,), "validation", index % 8, SIZE)
        assert example["label"] == index % 8
        np.testing.assert_array_equal(example["image"], scene.image)
        np.testing.assert_array_equal(example["part_mask"][..., 0], scene.part_masks[0])
        y0, x0, y1, x1 = example["bbox"]
        np.testing.assert_allclose([x0, y0, x1, y1], scene.boxes[0], atol=1e-6)


def test_the_builder_makes_its_images_once_and_the_same_everywhere(builder, tmp_path: Path) -> None:
    written = {path: path.stat().st_mtime_ns for path in Path(builder.data_dir).rglob("*.tfrecord*")}
    assert written
    type(builder)(data_dir=str(Path(builder.data_dir).parent.parent)).download_and_prepare()
    assert {path: path.stat().st_mtime_ns for path in written} == written
    other = type(builder)(data_dir=str(tmp_path))
    other.download_and_prepare()
    for path in written:
        assert (Path(other.data_dir) / path.name).read_bytes() == path.read_bytes()
