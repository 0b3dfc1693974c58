"""Two objects an image: what the sentences say is what the masks show, and no question gives its answer away."""

import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import chi2_contingency

import kerasxai
from kerasxai.data.shapes import draw
from kerasxai.data.shapes.forms import FORMS
from kerasxai.data.shapes.language import CHANCE, KINDS, NOBODY, NOTHING, POSITIONS, Question, caption, questions
from kerasxai.data.shapes.pairs import PATTERN_NAMES, RELATIONS, SIZES, Layout, Pair, draw_pair, sample_layout

SIZE = 160


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    return [draw_pair((seed,), "train", SIZE) for seed in range(60)]


@pytest.fixture(scope="module")
def layouts() -> list[Layout]:
    return [sample_layout(np.random.default_rng(seed), SIZE) for seed in range(3000)]


def asked(layout: Layout, seed: int) -> tuple[Question, ...]:
    return questions(np.random.default_rng([seed, 3]), layout.forms, layout.patterns, layout.relation)


def center(mask: np.ndarray) -> tuple[float, float]:
    rows, columns = np.nonzero(mask)
    return (columns.min() + columns.max() + 1) / 2, (rows.min() + rows.max() + 1) / 2


def seen_relation(first: np.ndarray, second: np.ndarray) -> str:
    """How the first mask stands to the second, by the middles of their boxes alone."""
    x, y = np.subtract(center(first), center(second))
    if abs(x) > abs(y):
        return "left of" if x < 0 else "right of"
    return "above" if y < 0 else "below"


def test_masks_are_exact(pairs: list[Pair]) -> None:
    """Without its object an image differs nowhere but on the object's mask and the pixels at its rim."""
    for pair in pairs[:10]:
        first, second = (mask > 0 for mask in pair.scene.part_masks)
        assert not (first & second).any()
        assert set(np.unique(pair.scene.part_masks[0])) == {0, draw.HEAD}
        for mask, part, offset in zip((first, second), pair.layout.parts, pair.layout.offsets, strict=True):
            covered, window = draw.coverage(part.outline + offset, SIZE)
            painted = np.zeros((SIZE, SIZE), np.float32)
            painted[window] = covered
            np.testing.assert_array_equal(mask, painted >= 0.5)


def test_objects_lie_in_the_image_and_are_as_large_as_meant(pairs: list[Pair]) -> None:
    for pair in pairs:
        for share, box in zip(pair.layout.shares, pair.scene.boxes, strict=True):
            assert SIZES[0] <= share <= SIZES[1]
            np.testing.assert_allclose((box[2:] - box[:2]).max(), share, atol=2.5 / SIZE)
            assert (box >= 0).all() and (box <= 1).all()


def test_captions_say_what_the_masks_show(pairs: list[Pair]) -> None:
    for pair in pairs:
        layout = pair.layout
        text, objects = caption(layout.forms, layout.patterns, layout.relation)
        words = text.split()
        assert len(words) == len(objects) and words[0] == "a"
        first, second = pair.scene.part_masks
        assert seen_relation(first, second) in text
        for k in range(2):
            assert [word for word, of in zip(words, objects, strict=True) if of == k] == [
                PATTERN_NAMES[layout.patterns[k]],
                FORMS[layout.forms[k]],
            ]
        assert [words[n] for n in range(len(words)) if objects[n] == NOBODY] == [
            "a",
            *RELATIONS[layout.relation].split(),
            "a",
        ]


def test_answers_are_true_of_the_masks(pairs: list[Pair]) -> None:
    for seed, pair in enumerate(pairs):
        layout = pair.layout
        found = asked(layout, seed)
        assert [question.kind for question in found] == [kind for kind in KINDS for _ in range(2)]
        for question in found:
            other = 1 - question.named
            relation = seen_relation(pair.scene.part_masks[other], pair.scene.part_masks[question.named])
            form, pattern = FORMS[layout.forms[question.named]], PATTERN_NAMES[layout.patterns[question.named]]
            if question.kind == "relation":
                true = question.text == f"what is {relation} the {form}"
                assert question.answer == (FORMS[layout.forms[other]] if true else NOTHING)
                assert question.about == (other if true else NOBODY)
            elif question.kind == "texture":
                assert (question.text, question.answer) == (f"what texture has the {form}", pattern)
            elif question.kind == "which":
                assert (question.text, question.answer) == (f"what is {pattern}", form)
            else:
                opposite = {"left of": "right", "right of": "left", "above": "below", "below": "above"}
                assert (question.text, question.answer) == (f"where is the {form}", opposite[relation])
            if question.kind != "relation":
                assert question.about == question.named


def test_the_best_guess_from_a_question_alone_is_chance(layouts: list[Layout]) -> None:
    """Whoever knows how often which answer follows on which question, and sees no image, gets no farther."""
    counts: dict[str, dict[str, Counter[str]]] = {kind: {} for kind in KINDS}
    for seed, layout in enumerate(layouts):
        for question in asked(layout, seed):
            counts[question.kind].setdefault(question.text, Counter())[question.answer] += 1
    learned = {kind: {text: count.most_common(1)[0][0] for text, count in counts[kind].items()} for kind in KINDS}
    fresh = [sample_layout(np.random.default_rng([9, seed]), SIZE) for seed in range(1000)]
    for kind in KINDS:
        answered = [q for seed, layout in enumerate(fresh) for q in asked(layout, 10**6 + seed) if q.kind == kind]
        right = np.mean([learned[kind].get(q.text) == q.answer for q in answered])
        error = np.sqrt(CHANCE[kind] * (1 - CHANCE[kind]) / len(answered))
        assert abs(right - CHANCE[kind]) < 4 * error, (kind, right)


def test_forms_patterns_relations_and_sizes_are_independent(layouts: list[Layout]) -> None:
    drawn = {
        "first form": [layout.forms[0] for layout in layouts],
        "second form": [layout.forms[1] for layout in layouts],
        "first pattern": [layout.patterns[0] for layout in layouts],
        "second pattern": [layout.patterns[1] for layout in layouts],
        "relation": [layout.relation for layout in layouts],
        "first size": [int(layout.shares[0] > np.mean(SIZES)) for layout in layouts],
        "second size": [int(layout.shares[1] > np.mean(SIZES)) for layout in layouts],
    }
    # Two forms of an image are never the same, nor are two patterns.
    dependent = [{"first form", "second form"}, {"first pattern", "second pattern"}]
    tested = [pair for pair in itertools.combinations(drawn, 2) if set(pair) not in dependent]
    for one, other in tested:
        table = np.zeros((8, 8))
        np.add.at(table, (np.array(drawn[one]), np.array(drawn[other])), 1)
        table = table[table.any(axis=1)][:, table.any(axis=0)]
        # One in a thousand for all of them together.
        assert chi2_contingency(table).pvalue > 1e-3 / len(tested), (one, other)
    for name in ("first form", "second form", "first pattern", "second pattern"):
        shares = np.bincount(drawn[name], minlength=8) / len(layouts)
        assert np.abs(shares - 1 / 8).max() < 4 * np.sqrt(7 / 64 / len(layouts)), name


def test_places_do_not_tell_the_form(layouts: list[Layout]) -> None:
    places = np.array([layout.offsets[0] + layout.parts[0].outline.max(axis=0) / 2 for layout in layouts]) / SIZE
    forms = np.array([layout.forms[0] for layout in layouts])
    for form in range(8):
        own = places[forms == form]
        np.testing.assert_allclose(own.mean(axis=0), places.mean(axis=0), atol=4 * 0.25 / np.sqrt(len(own)))
    assert places.min() < 0.15 and places.max() > 0.85


def test_the_same_seed_draws_the_same_bytes_and_others_do_not() -> None:
    first, again, other, test = (
        draw_pair((s,), split, SIZE) for s, split in ((5, "train"),) * 2 + ((6, "train"), (5, "test"))
    )
    assert first.scene.image.tobytes() == again.scene.image.tobytes()
    assert first.scene.image.tobytes() != other.scene.image.tobytes()
    assert first.scene.image.tobytes() != test.scene.image.tobytes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    from kerasxai.data.shapes import pairs_builder

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs_builder, "COUNTS", {"train": 8, "validation": 4, "test": 6})
        patch.setattr(pairs_builder, "_AHEAD", 3)
        path = tmp_path_factory.mktemp("two")
        kerasxai.data.info("shapes_two", data_dir=path)
        yield path


def test_the_builder_stores_what_was_drawn(folder: Path) -> None:
    first_seed = 2_000_000
    samples = list(kerasxai.data.load_scenes("test", data_dir=folder).as_numpy_iterator())
    assert len(samples) == 6
    for sample in samples:
        index = int(sample["name"].decode().removeprefix("test-").removesuffix(".png"))
        pair = draw_pair((first_seed + index,), "test", SIZE)
        layout = pair.layout
        np.testing.assert_array_equal(sample["image"], pair.scene.image)
        np.testing.assert_array_equal(sample["masks"], np.stack(pair.scene.part_masks) > 0)
        np.testing.assert_array_equal(sample["forms"], layout.forms)
        np.testing.assert_array_equal(sample["patterns"], layout.patterns)
        text, objects = caption(layout.forms, layout.patterns, layout.relation)
        assert sample["caption"].decode() == text
        assert sample["caption_objects"].tolist() == objects + [NOBODY] * (8 - len(objects))
        for n, question in enumerate(asked(layout, first_seed + index)):
            assert sample["questions"][n].decode() == question.text
            assert sample["answers"][n].decode() == question.answer
            assert KINDS[sample["kinds"][n]] == question.kind
            assert (sample["about"][n], sample["named"][n]) == (question.about, question.named)


def test_it_is_the_same_wherever_it_is_made(folder: Path, tmp_path: Path) -> None:
    kerasxai.data.info("shapes_two", data_dir=tmp_path)
    written = sorted(folder.rglob("*.tfrecord*"))
    assert len(written) == 3
    for path in written:
        assert (tmp_path / path.relative_to(folder)).read_bytes() == path.read_bytes()


def test_no_image_is_in_two_splits(folder: Path) -> None:
    names: list[Any] = []
    images = []
    for split in ("train", "validation", "test"):
        for sample in kerasxai.data.load_scenes(split, data_dir=folder, with_masks=False).as_numpy_iterator():
            assert "masks" not in sample
            names.append(sample["name"])
            images.append(sample["image"].tobytes())
    assert len(set(names)) == len(names) == 18
    assert len(set(images)) == 18


def test_as_a_data_set_of_labels_it_shows_the_larger_object(folder: Path) -> None:
    info = kerasxai.data.info("shapes_two", data_dir=folder, labels="single")
    assert info.class_names == FORMS and info.has_masks and info.splits == {"train": 8, "validation": 4, "test": 6}
    scenes = kerasxai.data.load_scenes("test", data_dir=folder).as_numpy_iterator()
    labeled = kerasxai.data.load("shapes_two", "test", SIZE, data_dir=folder, labels="single").as_numpy_iterator()
    for scene, sample in zip(scenes, labeled, strict=True):
        assert scene["image"].tobytes() == sample["image"].tobytes()
        k = list(scene["forms"]).index(sample["label"])
        np.testing.assert_array_equal(sample["mask"], scene["masks"][k])


def test_a_split_that_is_not_there(folder: Path) -> None:
    with pytest.raises(kerasxai.KerasxaiError, match="split of shapes_two"):
        kerasxai.data.load_scenes("nope", data_dir=folder)


def test_places_are_four() -> None:
    assert len(POSITIONS) == len(RELATIONS) == 4
