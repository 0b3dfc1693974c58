"""Chains of refinements behind a method."""

from typing import Any

import numpy as np
import pytest
import zoo

import kerasxai
from kerasxai.refinements import PRESETS, REFINEMENTS
from kerasxai.refinements.chain import parsed
from kerasxai.tools.errors import KerasxaiError

# `auto` has tests of its own: its choice depends on the first images.
CHAINS = [
    *PRESETS,
    *sorted({*REFINEMENTS} - {"auto"}),
    "flip,superpixels:segments=9,level:rule=area",
    {"walker": {"beta": 5}, "level": {}},
]
SMALL = {"stride": "stride:stride=1", "shifts": "shifts:pixels=2", "superpixels": "superpixels:segments=9"}


@pytest.fixture(scope="module")
def nested() -> Any:
    return zoo.build("nested")


@pytest.mark.parametrize("refine", CHAINS, ids=str)
def test_chains_leave_batches_and_models_as_they_were(refine: Any, nested: Any) -> None:
    model, images = nested, zoo.images(3)
    before = {id(layer): dict(vars(layer)) for layer in model._flatten_layers()}
    explainer = kerasxai.Explainer(
        model, "gradcam", refine=SMALL.get(refine, refine) if isinstance(refine, str) else refine
    )
    whole = explainer(images)
    assert whole.heatmaps.shape == (3, 16, 16) and whole.heatmaps.dtype == np.float32
    assert np.isfinite(whole.heatmaps).all()
    one = explainer(images[1:2])
    np.testing.assert_allclose(one.heatmaps, whole.heatmaps[1:2], rtol=1e-3, atol=1e-5)
    assert one.targets[0] == whole.targets[1]
    after = {id(layer): dict(vars(layer)) for layer in model._flatten_layers()}
    assert all(after[key].keys() == before[key].keys() for key in before)
    assert all(vars(layer).get("strides") == before[id(layer)].get("strides") for layer in model._flatten_layers())


def test_chains_are_read_and_mistakes_are_told() -> None:
    steps = parsed(["flip", "walker:beta=90:low=0.2"])
    assert [step.row.name for step in steps] == ["flip", "walker"]
    assert steps[1].options == {"beta": 90, "low": 0.2}
    assert parsed({"walker": {"beta": 90, "low": 0.2}}) == steps[1:]
    listed = parsed("flip,enlarge:factors=[1.5,2],walker:beta=90")
    assert [step.row.name for step in listed] == ["flip", "enlarge", "walker"]
    assert list(listed[1].options["factors"]) == [1.5, 2]
    assert parsed(None) == () and all(step.optional for step in parsed("best"))
    for wrong, told in (
        ("walk", "walker"),
        ("walker:size=3", "side"),
        ("walker:beta", "OPTION=VALUE"),
        (3, "names such as"),
        ("best:beta=3", "no options for the preset best"),
    ):
        with pytest.raises(KerasxaiError, match=told):
            parsed(wrong)  # type: ignore[arg-type]
    with pytest.raises(KerasxaiError, match="expected a Keras model for pc1, got function"):
        kerasxai.Explainer(lambda x: x.mean((1, 2)), "occlusion", refine="pc1")


def test_a_preset_leaves_out_what_cannot_work() -> None:
    images = zoo.images(2)
    explainer = kerasxai.Explainer(lambda x: x.mean((1, 2)), "occlusion", refine="best", patch=5, stride=4)
    assert explainer(images).heatmaps.shape == (2, 16, 16)
