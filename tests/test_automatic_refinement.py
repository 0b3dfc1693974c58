"""The refinement that suits a model, `refine="auto"`: how it is chosen, and on which images."""

import keras
import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

import kerasxai
from kerasxai.refinements import RefinementChoice
from kerasxai.refinements.automatic import AGREEMENT, Recognition
from kerasxai.tools.errors import KerasxaiError


def of_contrast(border: float, ending: str = "softmax") -> keras.Model:
    """Returns a model that tells strong fine contrast from weak: the mean of a rectified Laplacian above a border."""
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(2, 3, padding="same", activation="relu", name="map")(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(2, activation=ending)(x))
    laplacian = np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]])[..., None, None] / 3
    kernel = np.concatenate([laplacian, -laplacian], -1).repeat(3, 2)
    weights = np.array([[9, -9], [9, -9]]), np.array([-9 * border, 9 * border])
    model.set_weights([kernel, np.zeros(2), *weights])
    return model


@pytest.mark.parametrize(("border", "chosen"), [(0.3, "best"), (2.0, "graphcut")], ids=["recognizes", "does not"])
def test_auto_is_best_only_if_enlarged_images_are_recognized(border: float, chosen: str) -> None:
    fine = np.random.default_rng(0).normal(size=(8, 32, 32, 3)).astype(np.float32)
    fine[::2] *= 0.01
    model = of_contrast(border)
    assert model.predict_on_batch(fine).argmax(1).tolist() == [1, 0] * 4
    explainer = kerasxai.Explainer(model, "cam", refine="auto", batch_size=6)
    found = explainer(fine, 0)
    assert found.notes["auto"] == chosen and (found.notes["agreement"] > AGREEMENT) == (chosen == "best")
    expected = kerasxai.Explainer(model, "cam", refine=chosen)(fine, 0)
    np.testing.assert_allclose(found.heatmaps, expected.heatmaps, rtol=1e-4, atol=1e-6)
    one = explainer(fine[:1], 0)
    np.testing.assert_allclose(one.heatmaps, expected.heatmaps[:1], rtol=1e-4, atol=1e-6)
    whole = kerasxai.Explainer(model, "cam", refine="auto", batch_size=8)(fine, 0)
    before = kerasxai.Explainer(model, "cam", refine="auto", batch_size=3)
    before.choose_refinement(fine)
    assert before(fine[:1], 0).notes["agreement"] == whole.notes["agreement"], "not of the first image"


def test_auto_cuts_the_maps_of_models_with_several_labels_an_image() -> None:
    fine = np.random.default_rng(0).normal(size=(8, 32, 32, 3)).astype(np.float32)
    model = of_contrast(0.3, "sigmoid")
    found = kerasxai.Explainer(model, "cam", refine="auto")(fine, 0)
    assert found.notes["auto"] == "graphcut" and "several classes" in found.notes["without_best"]
    expected = kerasxai.Explainer(model, "cam", refine="graphcut")(fine, 0)
    np.testing.assert_array_equal(found.heatmaps, expected.heatmaps)


def test_agreement_is_counted_beyond_chance() -> None:
    before = [0, 0, 1, 1, 2, 2]
    assert Recognition(3, before, before).agreement() == 1
    assert Recognition(3, before, [1] * 6).agreement() == pytest.approx(0)
    assert Recognition(2, [1] * 6, [1] * 6).agreement() == 1, "a folder of one class"
    assert Recognition(2, [1] * 6, [0] * 6).agreement() == -1
    labels, other = before + [0, 1, 2] * 2, [0, 0, 1, 1, 2, 0, 0, 1, 1, 0, 2, 2]
    assert Recognition(3, labels, other).agreement() == pytest.approx(cohen_kappa_score(labels, other))


def of_contrasts() -> np.ndarray:
    """Returns images of weak, fine and strong contrast in turn: a model of border 2 knows all but the fine enlarged."""
    images = np.random.default_rng(0).normal(size=(9, 32, 32, 3)).astype(np.float32)
    return images * np.tile([0.01, 1, 20], 3).astype(np.float32)[:, None, None, None]


@pytest.mark.parametrize("chain", ["auto", "flip,auto", "auto,enlarge:factors=1.5"])
def test_a_choice_on_few_images_is_final(chain: str) -> None:
    images = of_contrasts()
    explainer = kerasxai.Explainer(of_contrast(2.0), "cam", refine=chain)
    explainer.choose_refinement(images[:3])
    found = [explainer(part, 0).notes["agreement"] for part in (images[:1], np.repeat(images[1:2], 8, 0))]
    plain = kerasxai.Explainer(of_contrast(2.0), "cam", refine="auto")
    assert found == [plain(images[:3], 0).notes["agreement"]] * 2 and 0 < found[0] < 1


def test_a_choice_replaces_that_on_the_first_images() -> None:
    images = of_contrasts()
    early, late = (kerasxai.Explainer(of_contrast(2.0), "cam", refine="auto") for _ in range(2))
    before = early(np.repeat(images[:1], 8, 0), 0).notes["agreement"]
    for explainer in (early, late):
        # In two calls, as commands give large images.
        explainer.choose_refinement(images[:4])
        explainer.choose_refinement(images[4:])
    after = [explainer(images[:1], 0).notes["agreement"] for explainer in (early, late)]
    assert before != after[0] == after[1]


def test_many_images_of_one_call_are_spread_over(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "kerasxai")
    monkeypatch.setattr("kerasxai.explain_images.MOST", 3)
    # The first three are of weak contrast.
    images = of_contrasts()[[0, 3, 6, 1, 4, 7, 2, 5, 8]]
    found = kerasxai.explain(of_contrast(2.0), images, "cam", refine="auto", batch_size=3)
    assert found.notes["agreement"] == pytest.approx(1 / 3)
    assert caplog.messages == ["choosing the refinement on 3 images"]


def test_images_without_finite_outputs_are_left_out_of_the_choice() -> None:
    images = of_contrasts()
    broken, whole = (kerasxai.Explainer(of_contrast(2.0), "cam", refine="auto") for _ in range(2))
    whole.choose_refinement(images)
    # The sums of a convolution overflow.
    broken.choose_refinement(np.insert(images, 3, 3e38, 0))
    after = [explainer(images[:1], 0).notes["agreement"] for explainer in (broken, whole)]
    assert after[0] == pytest.approx(after[1]) and 0 < after[1] < 1


@pytest.mark.parametrize("chain", ["auto", "flip,auto"])
@pytest.mark.parametrize("ending", ["softmax", "sigmoid"])
def test_a_choice_can_be_repeated(chain: str, ending: str) -> None:
    images = of_contrasts()
    first, second = (kerasxai.Explainer(of_contrast(2.0, ending), "cam", refine=chain) for _ in range(2))
    assert first.refinement_choice is None
    first.choose_refinement(images)
    choice = first.refinement_choice
    assert choice is not None
    second.refinement_choice = choice
    found = [explainer(images[1:2], 0) for explainer in (first, second)]
    assert {name: found[0].notes[name] for name in choice} == choice
    np.testing.assert_array_equal(found[0].heatmaps, found[1].heatmaps)
    assert [one.notes for one in found[:1]] == [one.notes for one in found[1:]]


def test_images_replace_a_repeated_choice() -> None:
    images = of_contrasts()
    explainer = kerasxai.Explainer(of_contrast(2.0), "cam", refine="auto")
    repeated: RefinementChoice = {"auto": "graphcut", "agreement": 0.0}
    explainer.refinement_choice = repeated
    assert explainer.refinement_choice == repeated
    explainer.choose_refinement(images[::3])
    assert explainer.refinement_choice == {"auto": "best", "agreement": 1.0}


def test_a_choice_against_enlarged_images_is_final() -> None:
    inputs = keras.Input((32, 32, 3))
    flat = keras.layers.Flatten()(keras.layers.Conv2D(2, 3, activation="relu")(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(flat))
    explainer = kerasxai.Explainer(model, "gradcam", refine="auto")
    explainer.choose_refinement(of_contrasts())
    choice = explainer.refinement_choice
    assert choice is not None and "images of any size" in str(choice["without_best"])
    assert explainer(of_contrasts()[:1]).notes["auto"] == choice["auto"] == "graphcut"


def test_only_a_choice_of_auto_is_repeated() -> None:
    explainer = kerasxai.Explainer(of_contrast(2.0), "cam", refine="auto")
    with pytest.raises(KerasxaiError, match="best or graphcut, got"):
        explainer.refinement_choice = {"auto": "walker"}
    assert kerasxai.Explainer(of_contrast(2.0), "cam", refine="flip").refinement_choice is None
