"""Bad input to the measures: one clear line, and nothing counted."""

from typing import Any

import numpy as np
import pytest

from kerasxai.metrics import GTKnownLoc, MaskCoverage, MaxBoxAcc, MaxBoxAccV2, MeanIoU, PointingGame, PxAP, TopKLoc
from kerasxai.tools.errors import KerasxaiError

MAPS = np.ones((2, 24, 30)) * np.arange(30)
BOXES = [[[1, 2, 9, 9]]] * 2
WRONG = [
    (lambda: MaxBoxAcc().update(MAPS[0], BOXES), r"\(B, h, w\)"),
    (lambda: MaxBoxAcc().update(MAPS[..., None], BOXES), r"\(B, h, w\)"),
    (lambda: MaxBoxAcc().update(3.0, BOXES), r"\(B, h, w\)"),
    (lambda: MaxBoxAcc().update(MAPS, BOXES[:1]), "one entry for each of 2"),
    (lambda: MaxBoxAcc().update(MAPS, [[1, 2, 9, 9]] * 2), r"\(K, 4\)"),
    (lambda: MaxBoxAcc().update(MAPS, [[[9, 2, 1, 9]]] * 2), "x0 <= x1"),
    (lambda: MaxBoxAcc().update(MAPS, [[[1, 2, np.nan, 9]]] * 2), "finite"),
    (lambda: MaxBoxAcc().update(MAPS, [[[0.1, 0.2, 0.9, 0.9]]] * 2), "got fractions"),
    (lambda: MaxBoxAcc().update(MAPS, [[[10, 20, 200, 180]]] * 2), "give image_size"),
    (lambda: MaxBoxAcc().update(MAPS, BOXES, image_size=(0, 5)), "image_size must be"),
    (lambda: MaxBoxAcc().update(MAPS, BOXES, image_size=(1, 2, 3)), "image_size must be"),
    (lambda: MaxBoxAcc("wsol"), "expected a known protocol"),
    (lambda: MaxBoxAcc(thresholds=[0.5, 0.2]), "rising"),
    (lambda: MaxBoxAcc(thresholds=[0.5, 1.0]), r"\[0, 1\)"),
    (lambda: GTKnownLoc(threshold=20), r"\[0, 1\)"),
    (lambda: GTKnownLoc(iou_threshold=0), "iou_threshold"),
    (lambda: TopKLoc(k=(0,)), "k must be"),
    (lambda: TopKLoc().update(MAPS, BOXES, np.ones((3, 4)), [0, 1]), "expected scores"),
    (lambda: TopKLoc().update(MAPS, BOXES, np.ones((2, 4)), [0, 4]), "from 0 to 3"),
    (lambda: TopKLoc().update(MAPS, BOXES, np.ones((2, 4)), [0.0, 1.0]), "integers"),
    (lambda: MeanIoU(of="pixels"), "of='boxes'"),
    (lambda: PxAP().update(MAPS, np.ones((2, 5))), "expected masks of shape"),
    (lambda: PxAP().update(MAPS, np.ones((3, 5, 5))), "expected masks of shape"),
    (lambda: PxAP().update(MAPS, np.full((2, 5, 5), 37)), "got 37"),
    (lambda: PxAP().update(MAPS, np.full((2, 5, 5), np.nan)), "got nan"),
    (lambda: MaskCoverage().update(MAPS, {"a": np.ones((2, 5, 5)), "b": np.ones((2, 5, 6))}), "one size"),
    (lambda: PointingGame(tolerance=-1), "tolerance"),
    (lambda: PointingGame().update(MAPS), "either boxes or masks"),
    (lambda: PointingGame().update(MAPS, BOXES, np.ones((2, 5, 5))), "either boxes or masks"),
    (lambda: GTKnownLoc().merge(GTKnownLoc(threshold=0.3)), "other must be"),
    (lambda: MaxBoxAcc().merge(MaxBoxAccV2()), "other must be"),
    (lambda: MaxBoxAcc.from_state(PxAP().state()), "state must be one of"),
]


@pytest.mark.parametrize(("act", "message"), WRONG)
def test_bad_input_is_refused_in_one_clear_line(act: Any, message: str) -> None:
    with pytest.raises(KerasxaiError, match=message) as caught:
        act()
    assert "\n" not in str(caught.value)


def test_a_refused_batch_leaves_the_totals_alone() -> None:
    metric = TopKLoc()
    metric.update(MAPS, BOXES, np.ones((2, 4)), [0, 1])
    before = metric.state()
    with pytest.raises(KerasxaiError):
        metric.update(MAPS, [BOXES[0], [[5, 5, 1, 1]]], np.ones((2, 4)), [0, 1])
    with pytest.raises(KerasxaiError):
        metric.update(MAPS, BOXES, np.ones((2, 4)), [0, 7])
    assert metric.state() == before
