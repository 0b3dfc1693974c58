"""Segmentation from image labels: seeds from class maps, pseudo-masks, a segmenter."""

import lazy_loader

# Names are listed in `__init__.pyi`.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
