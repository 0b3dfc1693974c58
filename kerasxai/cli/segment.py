"""The work of `kerasxai segment`."""

import argparse

from kerasxai.tools.json_output import print_json
from kerasxai.tools.printable import printable
from kerasxai.tools.settings import from_options
from kerasxai.tools.text_tables import print_table
from kerasxai.training.segment import segment
from kerasxai.training.segment_config import Measuring, SegmentConfig

STEPS = {
    "all_background": "blind: all background",
    "centered_gaussian": "blind: centered Gaussian of the labels",
    "seeds": "seeds",
    "refined": "refined seeds",
    "pseudo_masks_filled": "pseudo-masks, uncertain pixels filled",
    "pseudo_masks": "pseudo-masks, uncertain as background",
    "pseudo_masks_labeled": "pseudo-masks, certain pixels",
    "segmenter": "segmenter",
    "segmenter_refined": "segmenter, refined predictions",
    "true_masks": "segmenter trained on true masks",
    "true_masks_refined": "the same, refined predictions",
}

_SPLITS = ("train", "test")


def run(options: argparse.Namespace) -> None:
    """Train and measure, and print the mean IoU of each step."""
    results = segment(from_options(SegmentConfig, options), options.out, from_options(Measuring, options))
    print_json(results)
    rows = [
        [text, *(f"{results[split][name]['mean_iou']:.3f}" if name in results[split] else "" for split in _SPLITS)]
        for name, text in STEPS.items()
        if any(name in results[split] for split in _SPLITS)
    ]
    if rows:
        print_table(["mean IoU", *(f"{split}>" for split in _SPLITS)], rows)
    print(f"segmenter, pseudo-masks and predictions: {printable(options.out)}")
