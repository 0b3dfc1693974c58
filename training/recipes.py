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
        name: The name of the recipe.
        head: A name in `kerasxai.HEADS`.
        summary: One line for tables.
        paper: The source.
        optimizer: The optimizer of the source.
        schedule: The epochs and the schedule of the source.
        head_options: Options of the head that belong to the recipe.
        augmentation: `"module:function"` that augments a batch of training images and labels:
            `(images, labels, seed, *, num_classes, ...) -> (images, labels)`, or None.
        layers: `"module:function"` that returns the layers to insert into the backbone:
            `(backbone, *, seed, ...) -> {name of a layer: the layer that follows it}`, or None.
        soft_labels: Whether the augmentation turns class numbers into rows of shares, one a class.

    By default `kerasxai train` trains every recipe alike, with AdamW and a cosine. `optimizer` and `schedule` describe
    the training of the source, see `--optimizer`, `--schedule` and `--head-rate`.
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
        """The function of the recipe, or None if it consists of its head only."""
        return self.augmentation or self.layers


def _table(*rows: Recipe) -> dict[str, Recipe]:
    return {row.name: row for row in rows}


# Choe et al. 2020, arXiv:2001.07437, trained all their methods alike.
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
        "mixup",
        "gap",
        "Each training image is blended with another one, and their labels alike.",
        "Zhang 2018, arXiv:1710.09412; Chang 2020, arXiv:2008.01201",
        "SGD, momentum 0.9, weight decay 1e-4, from random weights on ImageNet (Zhang 2018)",
        "90 or 200 epochs, rate x 0.1 every few tens",
        augmentation="kerasxai.data.augmentation:mixup",
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
    """Return a row of RECIPES.

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
    """Return the head to train: the given one, else the head of the recipe, else gap.

    Args:
        recipe: A name in RECIPES, or None.
        head: A name in HEADS, or an empty string.

    Raises:
        KerasxaiError: The recipe consists of its head, and another head is given.
    """
    if recipe is None:
        return head or "gap"
    row = recipe_of(recipe)
    if head and head != row.head and row.own is None:
        raise KerasxaiError(
            f"head must be {row.head!r} for recipe {recipe!r}, got {head!r}; omit either `head` or `recipe`"
        )
    return head or row.head


_GIVEN = ("images", "labels", "backbone", "seed", "num_classes")


def share_options(recipe: str | None, head: str, options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split the options of a recipe into those of its function and those of its head.

    Args:
        recipe: A name in RECIPES, or None.
        head: A name in HEADS.
        options: The options of the user.

    Returns:
        The options of the function, and those of the head, including the ones that the recipe sets.

    Raises:
        KerasxaiError: There are options without a recipe, or an option is unknown to both.

    Example:
        >>> share_options("acol", "acol", {"erase_threshold": 0.5})
        ({}, {'erase_threshold': 0.5})
    """
    if recipe is None:
        if options:
            raise KerasxaiError(f"expected a recipe for the recipe options {', '.join(options)}, got none; choose one")
        return {}, {}
    row = recipe_of(recipe)
    own = [name for name in taken_by(row.own) if name not in _GIVEN] if row.own else []
    # The first two parameters of a head are its input and the number of classes.
    known = [*own, *(name for name in taken_by(HEADS[head].builder)[2:] if name != "labels")]
    for name in options:
        if name not in known:
            raise unknown(f"option of recipe {recipe!r}", name, known)
    ours = {name: value for name, value in options.items() if name in own}
    theirs = {name: value for name, value in options.items() if name not in own}
    return ours, {**(row.head_options if head == row.head else {}), **theirs}


def taken_by(reference: str) -> list[str]:
    """Return the names of the parameters of the function at `"module:function"`."""
    return [*inspect.signature(resolve(reference)).parameters]
