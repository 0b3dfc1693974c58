"""RECIPES: what a row means for a training run, how a run's config reads, and that every recipe trains."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

import kerasxai
from kerasxai.cli import main, parser_of
from kerasxai.tools.lazy import resolve
from kerasxai.tools.settings import from_options
from kerasxai.training import RECIPES
from kerasxai.training.config import TrainConfig
from kerasxai.training.new_model import head_options
from kerasxai.training.recipes import share_options


def test_rows_are_whole() -> None:
    assert kerasxai.RECIPES is RECIPES
    for name, row in RECIPES.items():
        assert row.name == name
        assert row.head in kerasxai.HEADS
        assert row.summary.endswith(".")
        assert "arXiv:" in row.paper
        assert row.optimizer
        assert row.schedule
        assert row.own is None or callable(resolve(row.own))


def test_the_listing_names_every_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes"]) == 0
    told = capsys.readouterr().out
    assert all(row.name in told and row.summary in told and row.schedule in told for row in RECIPES.values())


def parsed(*words: str) -> TrainConfig:
    return from_options(TrainConfig, parser_of("train").parse_args(["--data", "shapes", "--out", "run", *words]))


def test_the_recipe_decides_the_head_and_its_options_reach_it() -> None:
    assert parsed().head == "gap"
    assert parsed("--head", "conv1x1").head == "conv1x1"
    config = parsed("--recipe", "acol", "--recipe-option", "erase-threshold=0.5", "--head-option", "width=32")
    assert (config.recipe, config.head) == ("acol", "acol")
    assert head_options(config, early=True) == {"erase_threshold": 0.5, "width": 32}
    assert TrainConfig(**json.loads(json.dumps(asdict(config)))) == config


@pytest.mark.parametrize(
    ("message", "values"),
    [
        ("expected a known recipe, got 'acoll'; nearest: acol", {"recipe": "acoll"}),
        ("head must be 'acol' for recipe 'acol'", {"recipe": "acol", "head": "gap"}),
    ],
)
def test_mistakes_are_told(message: str, values: dict[str, Any]) -> None:
    with pytest.raises(kerasxai.KerasxaiError, match=message):
        TrainConfig(data="shapes", **values)


def test_options_need_a_recipe() -> None:
    with pytest.raises(kerasxai.KerasxaiError, match="recipe options drop_rate, got none"):
        share_options(None, "gap", {"drop_rate": 0.5})


def test_a_folder_from_before_recipes_goes_on(tmp_path: Path) -> None:
    config = TrainConfig(data="shapes", head="acol")
    old = {name: value for name, value in asdict(config).items() if "recipe" not in name}
    (tmp_path / "config.json").write_text(json.dumps(old))
    config.check_same(tmp_path)
    with pytest.raises(kerasxai.KerasxaiError, match="recipe was None, is 'acol'"):
        TrainConfig(data="shapes", recipe="acol").check_same(tmp_path)
