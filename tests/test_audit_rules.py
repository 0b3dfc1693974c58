"""The rules of an audit: intervals, calibration, verdicts and the recommendation, on figures made by hand."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kerasxai.audit.calibration import accuracy, calibration, overconfidence
from kerasxai.audit.intervals import Interval, difference, mean_interval
from kerasxai.audit.measures import COMPARED, MEASURES
from kerasxai.audit.recommendation import Candidate, halves, recommend
from kerasxai.audit.rows import finer_layer
from kerasxai.audit.verdicts import is_insane, joined, shown, verdict
from kerasxai.engine.layer_table import LayerInfo
from kerasxai.tools.errors import KerasxaiError

NOISE = np.random.default_rng(0).normal(0, 0.01, 40)


def figures(**means: float) -> dict[str, dict[str, Any]]:
    return {name: {"values": (mean + NOISE).tolist()} for name, mean in means.items()}


EDGES = figures(deletion=0.3, insertion=0.5, road=0.1)


def test_intervals_contain_the_mean_and_shrink_with_images() -> None:
    widths = []
    for count in (20, 2000):
        low, value, high = ends(mean_interval(np.random.default_rng(1).normal(3, 1, count)))
        assert low < value < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 5
    assert widths[1] == pytest.approx(2 * 1.96 / np.sqrt(2000), rel=0.1)


def ends(found: Interval) -> tuple[float, float, float]:
    assert found["low"] is not None and found["value"] is not None and found["high"] is not None
    return found["low"], found["value"], found["high"]


def test_missing_values_are_left_out_and_pairs_are_those_of_both() -> None:
    assert mean_interval([None, None])["value"] is None
    found = difference([1.0, None, 3.0, 9.0], [0.0, 5.0, 1.0])
    assert found["images"] == 2 and found["value"] == 1.5
    assert difference([1.0, 2.0], [3.0, 4.0], sign=-1)["value"] == 2.0


def test_calibration_equals_the_definition() -> None:
    probabilities = np.array([[0.95, 0.05], [0.9, 0.1], [0.3, 0.7], [0.45, 0.55]])
    labels = np.array([0, 1, 1, 0])
    found = calibration(probabilities, labels, bins=2)
    assert found["ece"] == pytest.approx(abs(0.5 - np.mean([0.95, 0.9, 0.7, 0.55])))
    found = calibration(probabilities, labels, bins=10)
    # Bins (0.8, 0.9], (0.9, 1.0], (0.6, 0.7] and (0.5, 0.6].
    assert found["ece"] == pytest.approx((0.05 + 0.9 + 0.3 + 0.55) / 4)
    assert [row["images"] for row in found["reliability"]] == [1, 1, 1, 1]
    assert overconfidence(probabilities, labels)["value"] == pytest.approx(0.775 - 0.5)
    with pytest.raises(KerasxaiError, match="expected probabilities"):
        calibration(probabilities, labels[:2])


def test_accuracy_is_also_balanced_over_the_classes() -> None:
    scores = np.array([[2.0, 1.0], [2.0, 1.0], [2.0, 1.0], [2.0, 1.0]])
    found = accuracy(scores, np.array([0, 0, 0, 1]))
    assert (found["top1"]["value"], found["balanced"], found["top5"]) == (0.75, 0.5, 1.0)


@pytest.mark.parametrize(
    ("means", "status"),
    [
        ({"deletion": 0.2, "insertion": 0.6, "road": 0.2}, "better"),
        ({"deletion": 0.2, "insertion": 0.5, "road": 0.2}, "mixed"),
        ({"deletion": 0.3, "insertion": 0.4, "road": 0.1}, "no better"),
        ({"deletion": 0.2, "insertion": 0.6, "road": 0.2, "sanity": 0.45}, "fails"),
        ({"complexity": 0.2}, "not compared"),
    ],
)
def test_verdicts_follow_the_rules(means: dict[str, float], status: str) -> None:
    assert verdict(figures(**means), {"edges": EDGES}).status == status


def test_verdicts_give_their_figures_in_words() -> None:
    found = verdict(figures(deletion=0.3, sanity=0.45), {"edges": EDGES})
    assert found.sentences == [
        "fails: same maps after the upper half of the network is random (0.45 >= 0.33)",
        "no better than an edge detector by deletion: difference +0.00 [+0.00, +0.00]",
    ]
    found = verdict(figures(insertion=0.4, stability=1.5, sanity=0.05), {"edges": EDGES})
    assert found.sentences[0].startswith("depends on the model")
    assert found.sentences[1].startswith("worse than an edge detector by insertion: difference -0.10 [")
    assert found.sentences[2] == "unstable: noise of 2 % of the range changes a map by 1.5 of its norm"


def test_evidence_on_the_object_is_compared_with_a_centered_gaussian() -> None:
    found = verdict(figures(localization=0.5), {"centered_gaussian": figures(localization=0.2)})
    assert found.sentences == [
        "better than a centered Gaussian by evidence on the object: difference +0.30 [+0.30, +0.30]"
    ]
    assert found.status == "not compared"


def test_a_verdict_close_to_the_limit_says_so() -> None:
    near = {"sanity": {"values": [0.2, 0.45] * 8}}
    assert not is_insane(near)
    assert any("close to the limit" in sentence for sentence in verdict(near, {}).sentences)


def test_a_tiny_difference_decides_nothing_however_sure_it_is() -> None:
    assert all(measure in EDGES for measure in COMPARED)
    for gain, status in ((0.002, "no better"), (0.02, "better")):
        sure = {name: MEASURES[name].sign * gain for name in COMPARED}
        moved = {name: {"values": [v + sure[name] for v in EDGES[name]["values"]]} for name in COMPARED}
        assert verdict(moved, {"edges": EDGES}).status == status


def test_ranks_have_a_limit_of_their_own() -> None:
    for value, fails in ((0.45, False), (0.55, True)):
        figures = {"sanity": {"values": [value] * 4, "control": None, "similarity": "spearman"}}
        found = verdict(figures, {})
        assert is_insane(figures) == fails == (found.status == "fails")
        assert f"rank correlation {value:.2f}" in found.sentences[0]


def test_gradients_are_the_control_of_sanity() -> None:
    def figure(value: float, control: float) -> dict[str, Any]:
        return {"sanity": {"values": [value] * 4, "control": [control] * 4}}

    assert is_insane(figure(0.32, 0.13)) and is_insane(figure(0.79, 0.43))
    assert not is_insane(figure(0.45, 0.43)) and not is_insane(figure(0.04, 0.13))
    assert is_insane(figure(0.279, 0.13)) and not is_insane(figure(0.274, 0.13)), "as printed: +0.15 and +0.14"
    assert verdict(figure(0.79, 0.43), {}).sentences == [
        "fails: same maps after the upper half of the network is random (0.79, plain gradients 0.43: "
        "difference +0.36 >= 0.15)"
    ]


def candidate(name: str, mean: float, is_insane: bool = False) -> Candidate:
    return Candidate(name, name, "top", {}, is_insane, mean + np.random.default_rng(len(name)).normal(0, 0.05, 40))


def test_a_method_is_chosen_on_one_half_and_measured_on_the_other() -> None:
    lucky = candidate("lucky", 0.3)
    lucky.scores[halves(40)[0]] += 0.5  # Only on the half of the choice.
    found = recommend([candidate("saliency", 0.4), lucky], {"edges": 0.35 + NOISE, "random": 0.1 + NOISE})
    assert (found["method"], found["reference"], found["chosen_on"], found["measured_on"]) == ("lucky", "edges", 20, 20)
    assert found["score"]["value"] == pytest.approx(lucky.scores[halves(40)[1]].mean())
    assert not found["is_better"] and found["sentence"].startswith("No method is better than an edge detector here")


def test_methods_that_the_recommended_one_is_not_clearly_better_than_are_named() -> None:
    scores = 0.5 + np.random.default_rng(0).normal(0, 0.05, 40)
    nearly = scores + np.random.default_rng(1).normal(-0.002, 0.02, 40)
    methods = [
        Candidate(name, name.split(" ")[0], "top", {}, False, values)
        for name, values in (
            ("gradcam", scores),
            ("occlusion", nearly),
            ("gradcam at b", nearly),
            ("lime", scores - 0.1),
        )
    ]
    found = recommend(methods, {"edges": 0.2 + NOISE})
    assert (found["method"], found["alike"]) == ("gradcam", ["occlusion"])
    assert found["sentence"].endswith("No clear difference to occlusion.")


def test_no_zero_has_a_minus() -> None:
    tiny: Interval = {"value": -0.001, "low": -0.004, "high": -0.0001, "images": 9}
    assert shown(tiny) == "0.00 [0.00, 0.00]" and shown(tiny, signed=True) == "+0.00 [+0.00, +0.00]"


def test_references_may_have_fewer_images() -> None:
    found = recommend([candidate("gradcam", 0.5)], {"edges": 0.2 + NOISE, "random": 0.3 + NOISE[:10]})
    assert found["reference"] == "random" and found["difference_to_reference"]["images"] == 5


def test_only_methods_that_depend_on_the_model_are_recommended() -> None:
    methods = [candidate("guided", 0.9, is_insane=True), candidate("gradcam", 0.5)]
    found = recommend(methods, {"edges": 0.2 + NOISE, "object": 0.95 + NOISE})
    assert found["method"] == "gradcam" and found["is_better"]
    assert found["sentence"].startswith("Use gradcam: better than an edge detector here")
    doubtful = replace(candidate("guided", 0.9), is_near_limit=True)
    found = recommend([doubtful, methods[1]], {"edges": 0.2 + NOISE})
    assert found["method"] == "gradcam" and found["sentence"].endswith("depend on the model: guided.")
    found = recommend([doubtful], {"edges": 0.2 + NOISE})
    assert found["method"] == "guided" and "Left out" not in found["sentence"], "the only one"
    found = recommend(methods[:1], {"edges": NOISE})
    assert found["method"] is None and "no method depends on the model" in found["sentence"]


def test_the_finer_layer_is_the_last_of_the_next_resolution() -> None:
    layers = [
        LayerInfo(path, "Conv2D", shape, is_map)
        for path, shape, is_map in [
            ("a", (None, 56, 56, 8), True),
            ("b", (None, 28, 28, 8), True),
            ("c", (None, 28, 28, 8), True),
            ("d", (None, 28, 28, 8), False),
            ("e", (None, 7, 7, 8), True),
            ("f", (None, 10), False),
        ]
    ]
    assert finer_layer(layers, "e") == "c" and finer_layer(layers, "c") == "a"
    assert finer_layer(layers, "a") is None and finer_layer(layers, "d") is None


def test_the_table_of_measures_is_complete() -> None:
    assert set(COMPARED) <= set(MEASURES)
    for name, measure in MEASURES.items():
        assert measure.name == name and callable(measure.function)
        assert len(measure.meaning) > 20


def test_names_are_joined_as_in_a_sentence() -> None:
    assert [joined([]), joined(["a"]), joined(["a", "b"])] == ["", "a", "a and b"]
