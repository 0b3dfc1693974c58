"""RECIPES: the methods of weakly supervised localization, one row each. Reading the table imports no TensorFlow."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kerasxai.models import HEADS
from kerasxai.tools.errors import KerasxaiError, unknown
from kerasxai.tools.lazy import resolve


@dataclass(frozen=True)
class Recipe:
    """One row of RECIPES.

    Attributes:
        name: The name that users write.
        head: A name in `kerasxai.HEADS`: what stands on the feature map.
        summary: One line for people.
        paper: Where it comes from.
        optimizer: What its source trained with.
        schedule: For how long its source trained, and how the rate fell.
        head_options: Options of the head that belong to the recipe.
        augmentation: `"module:function"` that changes a batch of training images and labels:
            `(images, labels, seed, *, num_classes, ...) -> (images, labels)`, or None.
        layers: `"module:function"` that says what is put into the backbone:
            `(backbone, *, seed, ...) -> {name of a layer: the layer that follows it}`, or None.
        soft_labels: Whether the augmentation turns class numbers into rows of shares, one a class.

    `kerasxai train` trains every recipe alike, with AdamW and a cosine, unless it is told otherwise (`--optimizer`,
    `--schedule`, `--head-rate`): `optimizer` and `schedule` are what to set for the source's own training.
    """

    name: str
    head: str
    summary: str
    paper: str
    optimizer: str
    schedule: str
    head_options: Mapping[str, Any] = field(default_factory=dict)
    augmentation: str | None = None
    layers: str | None = None
    soft_labels: bool = False

    @property
    def own(self) -> str | None:
        """The function of the recipe's own piece, or None where the head is all there is to it."""
        return self.augmentation or self.layers


def _table(*rows: Recipe) -> dict[str, Recipe]:
    return {row.name: row for row in rows}


# What Choe et al. 2020, arXiv:2001.07437, trained all their methods with.
_BENCHMARK_SGD = "SGD, Nesterov momentum 0.9, weight decay 1e-4, new layers at 10 times the rate"
_BENCHMARK_STEPS = "rate x 0.1 every few epochs: 10 epochs on ImageNet, 50 on CUB (Choe 2020, arXiv:2001.07437)"

RECIPES: dict[str, Recipe] = _table(
    Recipe(
        "gap",
        "gap",
        "The baseline: global average pooling and one dense layer, whose weights make the class activation map.",
        "Zhou 2016, arXiv:1512.04150",
        _BENCHMARK_SGD,
        _BENCHMARK_STEPS,
    ),
    Recipe(
        "conv1x1",
        "conv1x1",
        "One channel a class, then pooling: the class maps are the network's own output.",
        "Lin 2013, arXiv:1312.4400",
        _BENCHMARK_SGD,
        _BENCHMARK_STEPS,
    ),
    Recipe(
        "acol",
        "acol",
        "Two branches; where the first one's map of the true class is high, the second sees nothing and must look on.",
        "Zhang 2018, arXiv:1804.06962",
        "SGD, Nesterov momentum 0.9, weight decay 5e-4, both branches at 10 times the rate 1e-4, batches of 20",
        "constant rate, 6 epochs on ImageNet, 60 on CUB",
    ),
    Recipe(
        "has",
        "gap",
        "Hide-and-Seek: cells of a grid are hidden in each training image, so that no part may be relied on.",
        "Singh and Lee 2017, arXiv:1704.04232",
        _BENCHMARK_SGD,
        _BENCHMARK_STEPS,
        augmentation="kerasxai.data.augmentation:hide_and_seek",
    ),
    Recipe(
        "cutmix",
        "gap",
        "A box of another image is put into each training image; the labels are mixed by the area.",
        "Yun 2019, arXiv:1905.04899",
        "SGD, Nesterov momentum 0.9, weight decay 1e-4, rate 0.1 from random weights on ImageNet",
        "300 epochs, rate x 0.1 every 75",
        augmentation="kerasxai.data.augmentation:cutmix",
        soft_labels=True,
    ),
    Recipe(
        "adl",
        "gap",
        "Attention-based dropout: layers in the backbone hide the most attended places, or weigh all by attention.",
        "Choe and Shim 2019, arXiv:1908.10028",
        _BENCHMARK_SGD,
        _BENCHMARK_STEPS,
        layers="kerasxai.models.adl:attention_dropout",
    ),
    Recipe(
        "spg",
        "spg",
        "Self-produced guidance: masks of what the maps are sure of teach the features to part object and ground.",
        "Zhang 2018, arXiv:1807.08902",
        "SGD, Nesterov momentum 0.9, weight decay 5e-4, new layers at 10 times the rate 1e-3, batches of 20",
        "constant rate, 5 epochs on ImageNet, 100 on CUB",
    ),
)


def recipe_of(name: str) -> Recipe:
    """Returns a row of RECIPES.

    Raises:
        KerasxaiError: There is no such recipe.

    Example:
        >>> recipe_of("acol").head
        'acol'
    """
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    return RECIPES[name]


def head_of(recipe: str | None, head: str) -> str:
    """Returns the head that is trained: the one that was asked for, else the recipe's, else gap.

    Args:
        recipe: A name in RECIPES, or None.
        head: A name in HEADS, or an empty string.

    Raises:
        KerasxaiError: The recipe is its head, and another head was asked for.
    """
    if recipe is None:
        return head or "gap"
    row = recipe_of(recipe)
    if head and head != row.head and row.own is None:
        raise KerasxaiError(f"recipe {recipe!r} is its head {row.head!r}; leave head {head!r} away, or the recipe")
    return head or row.head


_GIVEN = ("images", "labels", "backbone", "seed", "num_classes")


def share_options(recipe: str | None, head: str, options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parts the options of a recipe into those of its own piece and those of its head.

    Args:
        recipe: A name in RECIPES, or None.
        head: The name in HEADS of the head that is trained.
        options: What the user wrote; what the own piece does not take is the head's.

    Returns:
        The own piece's options, and the head's together with those that belong to the recipe.

    Raises:
        KerasxaiError: There are options and no recipe, or neither takes an option.

    Example:
        >>> share_options("acol", "acol", {"erase_threshold": 0.5})
        ({}, {'erase_threshold': 0.5})
    """
    if recipe is None:
        if options:
            raise KerasxaiError(f"recipe options {', '.join(options)} without a recipe: choose one")
        return {}, {}
    row = recipe_of(recipe)
    own = [name for name in taken_by(row.own) if name not in _GIVEN] if row.own else []
    known = [*own, *taken_by(HEADS[head].builder)[2:]]
    for name in options:
        if name not in known:
            raise unknown(f"option of recipe {recipe!r}:", name, known)
    ours = {name: value for name, value in options.items() if name in own}
    theirs = {name: value for name, value in options.items() if name not in own}
    return ours, {**(row.head_options if head == row.head else {}), **theirs}


def taken_by(reference: str) -> list[str]:
    """Returns the names of the arguments of the function that `"module:function"` names."""
    return [*inspect.signature(resolve(reference)).parameters]
