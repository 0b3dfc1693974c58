"""Several methods and refinements as the rows of one evaluation."""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from kerasxai.evaluation.config import EvaluateConfig
from kerasxai.evaluation.tables import FIGURES, name_of
from kerasxai.methods import METHODS
from kerasxai.refinements import PRESETS
from kerasxai.refinements.chain import COMMAS
from kerasxai.tools.errors import KerasxaiError, unknown
from kerasxai.tools.files import json_text

_OF_LABELS = ("mean_average_precision", "f1", "corloc", "box_ap50", "seed_mean_iou", "seed_threshold")
"""Figures of several labels an image in the table."""
METHODS_FILE = "methods.json"
"""The table of an evaluation of several methods."""


@dataclass(frozen=True)
class Row:
    """One row of an evaluation.

    Attributes:
        config: Its settings.
        settings: Everything that its figures depend on, ready for JSON.
        folder: Where its files are written; None for nowhere.
        about: Entries to keep with the figures.
    """

    config: EvaluateConfig
    settings: Mapping[str, Any]
    folder: Path | None
    about: Mapping[str, Any]


def rows_of(config: EvaluateConfig, methods: Iterable[str], refinements: Iterable[str | None]) -> list[EvaluateConfig]:
    """Return the settings of each method with each refinement.

    Args:
        config: The settings but for `method` and `refine`. With several methods, the layer goes to those that use one,
            a score to those that explain any, and an option to those that have it; an option that none has goes to all,
            which refuse it unless it is one of `kerasxai.Explainer`.
        methods: Names in `kerasxai.METHODS`.
        refinements: As for `kerasxai.Explainer`; None for none.

    Raises:
        KerasxaiError: A method is unknown, or there is none.
    """
    names = list(dict.fromkeys(methods))
    for name in names:
        if name not in METHODS:
            raise unknown("method", name, METHODS)
    pairs = list(product(names, dict.fromkeys(refinements)))
    if not pairs:
        raise KerasxaiError("expected one or more methods and refinements, got none")
    alone = len(names) == 1
    options = {name: set(METHODS[name].option_names) for name in names}
    known = set().union(*options.values())

    def row(name: str, refine: str | None) -> EvaluateConfig:
        method = METHODS[name]
        own = {key: value for key, value in config.method_options.items() if key in options[name] or key not in known}
        return replace(
            config,
            method=name,
            refine=refine,
            layer=config.layer if alone or method.takes_layer else None,
            score=config.score if alone or method.takes_score else None,
            method_options=own,
        )

    return [row(name, refine) for name, refine in pairs]


def split_refinements(text: str | None) -> list[str | None]:
    """Split the refinements of a command line into those of single rows.

    With "none" among them, or with "auto" and presets alone, these are rows of their own, and the names between them
    are chains. Otherwise the text is one chain, as in other commands.

    Args:
        text: Names with commas between them; None for no refinement.

    Example:
        >>> split_refinements("none,best"), split_refinements("flip,walker"), split_refinements("none,flip,walker")
        ([None, 'best'], ['flip,walker'], [None, 'flip,walker'])
    """
    if text is None:
        return [None]
    parts = [part.strip() for part in COMMAS.split(text) if part.strip()]
    alone = {"none", "auto", *PRESETS}
    if "none" not in parts and not alone.issuperset(parts):
        return [text]
    chains: list[list[str]] = []
    for part in parts:
        if part in alone or not chains or chains[-1][0] in alone:
            chains.append([part])
        else:
            chains[-1].append(part)
    return [None if chain == ["none"] else ",".join(chain) for chain in chains]


def folder_name(config: EvaluateConfig) -> str:
    """Return the name of a row's folder.

    Example:
        >>> folder_name(EvaluateConfig("shapes", method="gradient*input", refine="flip"))
        'gradient_input+flip'
    """
    return re.sub(r"[^\w+,.=:-]", "_", name_of(vars(config)).replace(" ", ""))


def digests_of(configs: Sequence[EvaluateConfig], settings: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return for each row a digest of everything that its figures depend on."""
    return {
        f"{folder_name(config)}_sha256": hashlib.sha256(json_text(kept).encode()).hexdigest()
        for config, kept in zip(configs, settings, strict=True)
    }


def summaries(evaluations: Sequence[Mapping[str, Any]], rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the entries of `methods.json`: name, folder, and the figures at the chosen threshold, of each row."""
    return [
        {
            "name": name_of(evaluation),
            "folder": folder_name(row.config),
            **{key: evaluation[key] for key in ("method", "refine", "layer", "top1_accuracy")},
            **{key: evaluation["chosen"].get(key) for key in ("threshold", "source", *FIGURES)},
            **{key: evaluation[key] for key in _OF_LABELS if key in evaluation},
        }
        for evaluation, row in zip(evaluations, rows, strict=True)
    ]
