"""Sanity checks: does a heatmap depend on the weights of the model, and on the class?"""

import lazy_loader

# Names are listed in `__init__.pyi`.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
