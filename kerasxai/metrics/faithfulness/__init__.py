"""Faithfulness: does the score of a class follow the heatmap when parts of the image are removed?

Each measure is an object: `measure(images, targets, heatmaps)` returns one value per image, `update`, `merge` and
`result` count data sets. Scores are probabilities unless `explain=` says otherwise.
"""

import lazy_loader

# Names are listed in `__init__.pyi`.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
