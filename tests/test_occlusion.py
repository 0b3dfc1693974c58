"""Occlusion, its fills, and what all methods share that explain plain functions."""

import itertools
from typing import Any

import numpy as np
import pytest
import reference
import tensorflow as tf
import zoo
from hypothesis import given
from hypothesis import strategies as st

import kerasxai
from kerasxai.methods.occlusion import patch_starts

GENERATOR = np.random.default_rng(2)
WEIGHTS = GENERATOR.normal(size=(9, 13, 3, 2))
IMAGES = GENERATOR.uniform(0.5, 1, (3, 9, 13, 3)).astype("float32")


def linear(images: np.ndarray) -> np.ndarray:
    return np.einsum("nhwc,hwck->nk", images, WEIGHTS)


def bent(images: np.ndarray) -> np.ndarray:
    return np.tanh(linear(images) / 5) + linear(images**2) / 9


def explain(function: Any = bent, method: str = "occlusion", targets: Any = 1, **options: Any) -> Any:
    return kerasxai.Explainer(function, method, **options)(IMAGES, targets)


def test_occlusion_of_a_linear_function_is_its_weights() -> None:
    """One pixel at a time and black: what falls away is the pixel times its weights."""
    explanation = explain(linear, patch=1, stride=1)
    expected = np.einsum("nhwc,hwc->nhw", IMAGES, WEIGHTS[..., 1])
    np.testing.assert_allclose(explanation.heatmaps, expected, atol=2e-5)
    np.testing.assert_allclose(explanation.scores, linear(IMAGES)[:, 1], rtol=1e-5)


def test_occlusion_equals_its_oracle_also_where_patches_overlap() -> None:
    explanation = explain(patch=(4, 5), stride=(3, 4), batch_size=2)
    corners = [(top, left) for top in (0, 3, 5) for left in (0, 4, 8)]
    for image, heatmap in zip(IMAGES, explanation.heatmaps, strict=True):
        expected = reference.occlusion(lambda x: float(bent(x[None])[0, 1]), image.astype(float), corners, (4, 5))
        np.testing.assert_allclose(heatmap, expected, atol=1e-5)


@given(st.integers(1, 30), st.integers(1, 30), st.data())
def test_every_pixel_is_covered_and_no_patch_hangs_over(height: int, width: int, data: Any) -> None:
    patch = data.draw(st.tuples(st.integers(1, height), st.integers(1, width)))
    stride = data.draw(st.tuples(st.integers(1, patch[0]), st.integers(1, patch[1])))
    covered = np.zeros((height, width))
    corners = list(itertools.product(*patch_starts((height, width), patch, stride)))
    for top, left in corners:
        assert top + patch[0] <= height and left + patch[1] <= width
        covered[top : top + patch[0], left : left + patch[1]] += 1
    assert covered.min() >= 1
    assert len(np.unique(corners, axis=0)) == len(corners)


def test_the_default_patch_is_a_seventh_of_the_shorter_side_by_half_of_it() -> None:
    images = np.zeros((1, 70, 99, 3), "float32")
    explanation = kerasxai.Explainer(lambda x: x.mean((1, 2)), "occlusion")(images)
    assert explanation.notes == {"patch": (10, 10), "stride": (5, 5)}
    assert explanation.heatmaps.shape == (1, 70, 99)


def test_each_fill_is_what_it_says() -> None:
    seen: list[np.ndarray] = []

    def watching(images: np.ndarray) -> np.ndarray:
        seen.append(images)
        return images.mean((1, 2))

    picture = GENERATOR.uniform(size=(9, 13, 3)).astype("float32")
    middle = (IMAGES[0].min() + IMAGES[0].max()) / 2
    for fill, expected in [
        ("black", 0),
        ("mean", IMAGES[0].mean((0, 1))),
        ("gray", middle),
        (0.25, 0.25),
        ([1, 2, 3], [1, 2, 3]),
        (picture, picture),
    ]:
        seen.clear()
        kerasxai.Explainer(watching, "occlusion", patch=(9, 13), fill=fill)(IMAGES[:1])
        np.testing.assert_allclose(seen[-1][0], np.broadcast_to(expected, (9, 13, 3)), rtol=1e-5)


@pytest.mark.parametrize("options", [{"patch": 3}, {"stride": 1}, {"fill": "gray"}, {"explain": "probability"}])
def test_every_option_changes_the_map(options: dict[str, Any]) -> None:
    plain: dict[str, Any] = {"patch": 4, "stride": 3}
    assert not np.allclose(explain(**plain).heatmaps, explain(**(plain | options)).heatmaps)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch": 10}, r"patch must be at most the image, \(9, 13\).*, got \(10, 10\)"),
        ({"patch": 0}, "patch must be 1 or more, got 0"),
        ({"patch": 2.5}, "patch must be a whole number, or one for each side"),
        ({"patch": (2, True)}, "patch must be a whole number"),
        ({"stride": 0}, "stride must be 1 or more"),
        ({"patch": 2, "stride": 3}, "stride must be at most the patch"),
        ({"fill": "blak"}, "expected a known fill, got 'blak'; nearest: black"),
        ({"fill": [1, 2]}, "fill must be one of black, mean, gray, a number"),
        ({"fill": np.nan}, "of finite numbers"),
        ({"explain": "logits"}, "expected a known value of explain, got 'logits'; nearest: logit"),
        (
            {"explain": "logit", "score": lambda outputs, targets: outputs[:, 0]},
            "score= or explain=, got both",
        ),
    ],
)
def test_bad_options_say_what_is_wrong(options: dict[str, Any], message: str) -> None:
    with pytest.raises(kerasxai.KerasxaiError, match=message):
        explain(**options)


def test_a_model_and_the_function_of_its_logits_have_the_same_map() -> None:
    model = zoo.build("logits")
    options: dict[str, Any] = {"patch": 6, "stride": 5}
    through_view = kerasxai.Explainer(model, "occlusion", **options)(zoo.images(3))
    for function in (lambda x: model(x, training=False), lambda x: model(x, training=False).numpy()):
        plain = kerasxai.Explainer(function, "occlusion", **options)(zoo.images(3))
        np.testing.assert_allclose(plain.heatmaps, through_view.heatmaps, atol=1e-5)
        np.testing.assert_array_equal(plain.targets, through_view.targets)
        np.testing.assert_allclose(plain.scores, through_view.scores, atol=1e-6)


@pytest.mark.parametrize("kind", ["functional", "logits", "single_sigmoid", "subclassed"])
def test_probabilities_are_those_of_the_model(kind: str) -> None:
    model = zoo.build(kind)
    outputs = model(zoo.images(3), training=False).numpy()
    outputs = tf.nn.softmax(outputs).numpy() if kind == "logits" else outputs
    outputs = np.concatenate([1 - outputs, outputs], 1) if kind == "single_sigmoid" else outputs
    for target in (0, 1):
        explain = kerasxai.Explainer(model, "occlusion", patch=16, explain="probability")
        np.testing.assert_allclose(explain(zoo.images(3), target).scores, outputs[:, target], rtol=1e-5)


@pytest.mark.parametrize("method", [name for name, row in kerasxai.METHODS.items() if not row.takes_function])
def test_methods_that_look_inside_refuse_a_function(method: str) -> None:
    with pytest.raises(kerasxai.KerasxaiError, match=r"expected a Keras model .*occlusion, rise, lime, kernelshap"):
        kerasxai.Explainer(bent, method)


@pytest.mark.parametrize("method", [name for name, row in kerasxai.METHODS.items() if row.takes_function])
def test_methods_that_only_ask_for_scores_explain_a_function_in_batches(method: str) -> None:
    sizes: list[int] = []

    def counting(images: np.ndarray) -> np.ndarray:
        assert isinstance(images, np.ndarray)
        sizes.append(len(images))
        return bent(images)

    options = zoo.CHEAPER[method]
    explanation = kerasxai.Explainer(counting, method, batch_size=2, **options)(IMAGES)
    assert max(sizes) == 2
    assert explanation.heatmaps.shape == IMAGES.shape[:3]
    np.testing.assert_array_equal(explanation.targets, bent(IMAGES).argmax(-1))
    np.testing.assert_allclose(explanation.scores, bent(IMAGES).max(-1), rtol=1e-5)
    apart = [kerasxai.Explainer(bent, method, batch_size=5, **options)(image[None]).heatmaps[0] for image in IMAGES]
    np.testing.assert_allclose(explanation.heatmaps, apart, atol=1e-5)


def test_a_function_that_does_not_fit_says_so() -> None:
    with pytest.raises(kerasxai.KerasxaiError, match=r"to return scores of shape \(3, classes\).*got \(3, 9, 13\)"):
        explain(lambda images: images.mean(-1))
    with pytest.raises(kerasxai.KerasxaiError, match="expected a Keras model or a function of images, got str"):
        explain("model")
    with pytest.raises(kerasxai.KerasxaiError, match="target must be from 0 to 1, got 2"):
        explain(targets=2)


def test_a_bar_is_shown_only_when_wanted_and_only_for_long_calls(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    explain(patch=4, stride=1, progress=True)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("kerasxai.tools.progress._DELAY", 0)
    explain(patch=4, stride=1, progress=True, batch_size=4)
    assert "occlusion" in capsys.readouterr().err
    for progress in (False, None):
        explain(patch=4, stride=1, progress=progress, batch_size=4)
        assert capsys.readouterr().err == ""
