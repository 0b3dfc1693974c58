"""A captioner for two objects: trained, measured and drawn word by word.

Run it as `kerasxai caption ...` or `python -m kerasxai.training.words.caption ...`.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasxai import scores
from kerasxai.data.shapes.forms import FORMS
from kerasxai.data.shapes.language import CAPTION_LENGTH, CAPTION_WORDS, NOBODY, swapped
from kerasxai.data.shapes.pairs import PATTERN_NAMES
from kerasxai.tools.commands import run_module
from kerasxai.tools.folders import locked
from kerasxai.tools.settings import from_options
from kerasxai.training.words.attention_reader import (
    END,
    PADDING,
    SIDE,
    START,
    attend,
    maps_of,
    numbered,
    predictions,
    read_map,
    trained,
    vocabulary,
)
from kerasxai.training.words.pointing_accuracy import Case, point
from kerasxai.training.words.scene_config import CAPTION, SceneConfig
from kerasxai.training.words.word_metrics import explainer_of, measure

WORDS = vocabulary(CAPTION_WORDS)
_LENGTH = CAPTION_LENGTH + 1
_GROUPS = {"noun": FORMS, "adjective": PATTERN_NAMES}


def run(options: argparse.Namespace) -> None:
    """Trains, measures and draws as the command line says."""
    caption(
        from_options(SceneConfig, options, task="caption"),
        options.out,
        options.method,
        limit=options.limit,
        gallery=options.gallery,
    )


def caption(
    config: SceneConfig,
    out: str | Path,
    method: str = "gradcam",
    *,
    limit: int | None = None,
    gallery: int = 6,
    verbose: Any = "auto",
) -> dict[str, Any]:
    """Trains a captioner and measures where its heatmap for each noun and adjective has its maximum.

    What is explained is the log-probability of the word, given the image and the words before it, which are those that
    the model itself said. Masks are read for measuring alone.

    Args:
        config: What to train.
        out: The run's folder; one that holds a finished model is only measured. Beside `config.json`, `command.txt`,
            `history.csv`, `metrics.json` and `model.keras` it gets `evaluation_METHOD.json` and `gallery_METHOD.png`.
        method: A name in `kerasxai.METHODS` that explains any score.
        limit: Measure so many test images only.
        gallery: How many test images are drawn.
        verbose: As `keras.Model.fit` takes it; 0 prints nothing.

    Returns:
        The content of `evaluation_METHOD.json`.

    Raises:
        KerasxaiError: An option is wrong, or the folder holds another run.

    Example:
        >>> caption(SceneConfig("caption"), "runs/caption")["words"]["noun"]["correct"]["share_on_object"]
    """
    with locked(out):
        return _caption(config, out, method, limit, gallery, verbose)


def _caption(
    config: SceneConfig, out: str | Path, method: str, limit: int | None, gallery: int, verbose: Any
) -> dict[str, Any]:
    model = train(config, out, verbose)
    explain = explainer_of(model, method, scores.token())

    def explained(batch: Any) -> tuple[list[Case], list[list[Any]], dict[str, int]]:
        said = say(model, batch["image"])
        return _cases(batch, said, _heatmaps(explain, batch["image"], said))

    return measure(config, out, method, explained, "words", limit, gallery, verbose)


def build_reader(maps: Sequence[int], width: int) -> keras.Model:
    """Returns the part that is trained: from the backbone's map and the words so far to the next word's logits.

    Args:
        maps: The shape of the backbone's map, `(h, w, K)`.
        width: Channels.
    """
    taken = keras.Input(tuple(maps), name="maps")
    words = keras.Input((_LENGTH,), dtype="int32", name="words")
    embedded = keras.layers.Embedding(len(WORDS), width // 2, name="embedding")(words)
    states = keras.layers.GRU(width, return_sequences=True, name="decoder")(embedded)
    return keras.Model([taken, words], attend(read_map(taken, width), states, len(WORDS), width), name="reader")


def assemble(base: keras.Model, reader: keras.Model) -> keras.Model:
    """Returns the whole captioner: `image` and `words` in, probabilities `(B, T, words)` of each next word out."""
    image = keras.Input((SIDE, SIDE, 3), name="image")
    words = keras.Input((_LENGTH,), dtype="int32", name="words")
    logits = reader([base(image), words])
    return keras.Model({"image": image, "words": words}, predictions(logits, WORDS), name="captioner")


def train(config: SceneConfig, out: str | Path, verbose: Any = "auto") -> keras.Model:
    """Trains a captioner with the true words before each word; a run that was stopped goes on where it was.

    Args:
        config: What to train.
        out: The run's folder.
        verbose: As `keras.Model.fit` takes it.

    Returns:
        The captioner: a dict of `image` `(B, 160, 160, 3)` raw RGB and `words` `(B, 9)` in, probabilities out.

    Raises:
        KerasxaiError: An option is wrong, or the folder holds another run.
    """
    return trained(config, out, build_reader, _read, assemble, verbose)


def _read(batch: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    texts = [text.decode() for text in batch["caption"]]
    targets = numbered([f"{text} {WORDS[END]}" for text in texts], WORDS, _LENGTH)
    before = numbered([f"{WORDS[START]} {text}" for text in texts], WORDS, _LENGTH)
    return before, targets, (targets != PADDING).astype(np.float32)


def say(model: keras.Model, images: Any) -> np.ndarray:
    """Returns the caption of each image, the likeliest word after the likeliest word.

    Args:
        model: A captioner.
        images: `(N, 160, 160, 3)`, raw RGB.

    Returns:
        `(N, 9)` int32, the words that the model takes: the start, then what it said, `PADDING` after the end.
    """
    maps, reader = maps_of(model.get_layer("backbone"), images), model.get_layer("reader")
    words = np.full((len(maps), _LENGTH), PADDING, np.int32)
    words[:, 0] = START
    for place in range(1, _LENGTH):
        following = np.asarray(reader.predict_on_batch([maps, words]))[:, place - 1].argmax(axis=-1)
        ended = (words[:, place - 1] == PADDING) | (following == END)
        words[:, place] = np.where(ended, PADDING, following)
    return words


def spelled(words: np.ndarray) -> str:
    """Returns a row of `say` as text."""
    return " ".join(WORDS[number] for number in words if number > END)


@dataclass(frozen=True)
class _Word:
    """One word of one caption: the image, the place in the row of words, and the group if it speaks of an object."""

    image: int
    place: int
    text: str
    group: str | None


def _words(said: np.ndarray) -> list[_Word]:
    return [
        _Word(image, place, WORDS[number], next((name for name, its in _GROUPS.items() if WORDS[number] in its), None))
        for image, row in enumerate(said)
        for place, number in enumerate(row)
        if number > END
    ]


def _heatmaps(explain: Any, images: np.ndarray, said: np.ndarray) -> np.ndarray:
    """Returns a heatmap for each word that `_words` lists."""
    words = _words(said)
    if not words:  # an untrained captioner may end each caption at once
        return np.zeros((0, SIDE, SIDE), np.float32)
    rows = [word.image for word in words]
    # The word at a place is what the model says after the places before it.
    targets = np.array([[word.place - 1, said[word.image, word.place]] for word in words])
    return explain({"image": images[rows], "words": said[rows]}, targets).heatmaps


def spoken_of(word: str, forms: Sequence[int], patterns: Sequence[int]) -> int:
    """Returns which of two objects a noun or an adjective names, or `NOBODY`.

    Example:
        >>> spoken_of("spotted", forms=[0, 1], patterns=[0, 1])
        1
    """
    names = [(FORMS[form], PATTERN_NAMES[pattern]) for form, pattern in zip(forms, patterns, strict=True)]
    return next((k for k, its in enumerate(names) if word in its), NOBODY)


def _cases(batch: Any, said: np.ndarray, heatmaps: np.ndarray) -> tuple[list[Case], list[list[Any]], dict[str, int]]:
    """Returns the cases of a batch, for each image its words with their maps, and how many captions are true."""
    texts = [spelled(row) for row in said]
    true = [text in (one.decode(), swapped(one.decode())) for text, one in zip(texts, batch["caption"], strict=True)]
    cases: list[Case] = []
    drawn: list[list[Any]] = [[] for _ in said]
    for word, heatmap in zip(_words(said), heatmaps, strict=True):
        drawn[word.image].append((word.text, heatmap))
        if word.group is not None:
            k = spoken_of(word.text, batch["forms"][word.image], batch["patterns"][word.image])
            where, area = point(heatmap, batch["masks"][word.image], k)
            cases.append(Case(word.group, true[word.image], where, area))
    return cases, drawn, {"captions": len(true), "true_captions": sum(true)}


if __name__ == "__main__":
    sys.exit(run_module("kerasxai.training.words.caption", CAPTION, run))
