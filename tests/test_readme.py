"""The README and the pages say what is true: tables come from METHODS, HEADS and RECIPES, commands and links exist.

`python tests/test_readme.py` writes the tables.
"""

import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import zoo_architectures as zoo

import kerasxai
from kerasxai.cli import COMMANDS
from kerasxai.methods import METHODS
from kerasxai.models import HEADS
from kerasxai.refinements import PRESETS, REFINEMENTS
from kerasxai.training.recipes import RECIPES

README = Path(__file__).parent.parent / "README.md"
TABLE = re.compile(r"(<!-- methods:.*?-->\n).*?(<!-- end of methods -->)", re.DOTALL)

DOCS = README.parent / "docs"
REFINEMENTS_PAGE = README.parent / "docs" / "refinements.md"
REFINEMENT_TABLE = re.compile(r"(<!-- refinements:.*?-->\n).*?(<!-- end of refinements -->)", re.DOTALL)
RECIPE_TABLE = re.compile(r"(<!-- recipes:.*?-->\n).*?(<!-- end of recipes -->)", re.DOTALL)
HEAD_TABLE = re.compile(r"(<!-- heads:.*?-->\n).*?(<!-- end of heads -->)", re.DOTALL)


def heads_table() -> str:
    rows = [f"| `{row.name}` | {row.summary} | {row.paper} |" for row in HEADS.values()]
    return "\n".join(["| head | what it is | paper |", "|---|---|---|", *rows]) + "\n"


def methods_table() -> str:
    rows = [f"| `{row.name}` | {row.summary} | {row.needs} | {row.paper} |" for row in METHODS.values()]
    return "\n".join(["| method | what it shows | needs | paper |", "|---|---|---|---|", *rows]) + "\n"


def recipes_table() -> str:
    rows = [f"| `{row.name}` | `{row.head}` | {row.summary} | {row.paper} |" for row in RECIPES.values()]
    return "\n".join(["| recipe | head | what it does | paper |", "|---|---|---|---|", *rows]) + "\n"


def refinements_table() -> str:
    table = REFINEMENTS.values()
    rows = [f"| `{row.name}` | {row.summary} | {row.needs} | {row.cost} | {row.paper} |" for row in table]
    presets = [f"| `{name}` | The chain `{chain}`. | | the sum of its steps | |" for name, chain in PRESETS.items()]
    head = ["| refinement | what it does | needs | more forward passes | paper |", "|---|---|---|---|---|"]
    return "\n".join([*head, *rows, *presets]) + "\n"


def with_refinements(text: str) -> str:
    return REFINEMENT_TABLE.sub(lambda match: match[1] + refinements_table() + match[2], text)


def with_table(text: str) -> str:
    text = TABLE.sub(lambda match: match[1] + methods_table() + match[2], text)
    text = HEAD_TABLE.sub(lambda match: match[1] + heads_table() + match[2], text)
    return RECIPE_TABLE.sub(lambda match: match[1] + recipes_table() + match[2], text)


TABLES = {DOCS / "guides" / "choose.md": (TABLE,), DOCS / "recipes.md": (RECIPE_TABLE, HEAD_TABLE)}
"""The pages with generated tables."""


def test_the_tables_are_those_of_the_code() -> None:
    for page, tables in TABLES.items():
        text = page.read_text()
        assert all(table.search(text) for table in tables)
        assert with_table(text) == text, "run: python tests/test_readme.py"


def test_the_table_of_refinements_is_that_of_the_code() -> None:
    text = REFINEMENTS_PAGE.read_text()
    assert REFINEMENT_TABLE.search(text)
    assert with_refinements(text) == text, "run: python tests/test_readme.py"
    for link in re.findall(r"\]\((?!https)([^)]+)\)", text):
        assert (REFINEMENTS_PAGE.parent / link.partition("#")[0]).exists(), link


def test_commands_and_files_that_are_named_exist() -> None:
    text = README.read_text()
    assert set(re.findall(r"kerasxai ([a-z]+) (?:-|runs|imagenet|MODEL)", text)) <= set(COMMANDS)
    for link in re.findall(r"\]\((?!https)([^)]+)\)", text):
        assert (README.parent / link).exists(), link


class Encoder(keras.layers.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = [keras.layers.Conv2D(4, 3, activation="relu") for _ in range(2)]

    def call(self, x: Any) -> Any:
        for block in self.blocks:
            x = block(x)
        return x


class Subclassed(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.pool, self.top = keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3)

    def call(self, x: Any) -> Any:
        return self.top(self.pool(self.encoder(x)))


def recurrent() -> Any:
    inputs = keras.Input((16, 16, 3))
    shared = keras.layers.Conv2D(3, 3, padding="same", activation="relu", name="shared")
    pooled = keras.layers.GlobalAveragePooling2D()(shared(shared(inputs)))
    return keras.Model(inputs, keras.layers.Dense(3)(pooled))


def test_the_examples_for_any_model_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    keras.utils.set_random_seed(0)
    layers = keras.layers
    text = [keras.Input((6,), dtype="int32"), layers.Embedding(9, 4), layers.GlobalAveragePooling1D(), layers.Dense(2)]
    line = [keras.Input((20, 2)), layers.Conv1D(4, 3, activation="relu"), layers.GlobalMaxPooling1D(), layers.Dense(2)]
    sides = {"siamese": (16, 16), "multi_task": (20, 16), "segmenter": (16, 24), "detector": (24, 24)}
    models = dict(zip(sides, (zoo.twins, zoo.three_tasks, zoo.u_net, zoo.detector), strict=True))
    code = re.findall(r"```python\n(.*?)```", (DOCS / "any_model.md").read_text(), re.DOTALL)
    assert len(code) == 1
    names: dict[str, Any] = {
        "kerasxai": kerasxai,
        "masks": np.ones((2, 16, 24), np.float32),
        "tokens": np.ones((2, 6), int),
        "series": np.random.default_rng(0).normal(size=(2, 20, 2)).astype("float32"),
        "text_model": keras.Sequential(text),
        "series_model": keras.Sequential(line),
        "transformer": zoo.vision_transformer().model,
        "wide_images": zoo.noise(2, (16, 24)),
        "recurrent": recurrent(),
        "subclassed": Subclassed(),
        **{name: make().model for name, make in models.items()},
    }
    exec("from kerasxai import Explainer, scores", names)
    done = 0
    for statement in re.findall(r"^[^#\n].*(?:\n .*)*", code[0], re.MULTILINE):
        side = next((sides[name] for name in sides if name in statement), (16, 16))
        # Each model takes images of its own size.
        names["images"] = zoo.noise(2, sides["multi_task"] if "repeated" in statement else side)
        exec(statement, names)
        done += 1
    assert done > 10 and (tmp_path / "first.png").exists()


def test_make_targets_that_are_named_exist() -> None:
    targets = re.findall(r"^([a-z]+):", (README.parent / "Makefile").read_text(), re.MULTILINE)
    assert {"demo", "test"} <= set(re.findall(r"^make ([a-z]+)$", README.read_text(), re.MULTILINE)) <= set(targets)


if __name__ == "__main__":
    for page in TABLES:
        page.write_text(with_table(page.read_text()))
    REFINEMENTS_PAGE.write_text(with_refinements(REFINEMENTS_PAGE.read_text()))
