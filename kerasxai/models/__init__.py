"""Classifiers with heads for class activation maps: backbones, heads, and functions to build and load them."""

import lazy_loader

# Names are listed in `__init__.pyi`.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
