"""Data sets with labels, boxes and masks: any TFDS name, any folder of images, and the embedded ones.

`open` opens a data set, `load` reads one split of it. `shapes` and `shapes_two` are drawn by kerasxai; `load_scenes`
reads the sentences of the latter. `DATASETS` contains only what the feature types of a TensorFlow Datasets builder do
not say; names that are not in it work as well. The table imports neither TensorFlow nor TensorFlow Datasets.
"""

import lazy_loader

# Names are listed in `__init__.pyi`.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
