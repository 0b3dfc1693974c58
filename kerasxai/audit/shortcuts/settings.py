"""The settings of the search for shortcuts. Nothing here imports TensorFlow."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ShortcutSettings:
    """The settings of `find_shortcuts`.

    Attributes:
        images: How many images are read at most, evenly over the classes.
        seed: Of the choice of images, and of the places and images of the interventions.
        trials: How many suspected marks are tested at most, those that separate a class best first; a test takes about
            100 forward passes.

    Example:
        >>> ShortcutSettings(images=100).trials
        16
    """

    images: int = 256
    seed: int = 0
    trials: int = 16
