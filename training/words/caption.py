"""A captioner for two objects: trained, measured and drawn word by word.

Run it as `kerasxai caption ...` or `python -m kerasxai.training.words.caption ...`.

The explained score is the log-probability of a word, given the image and the words before it, which the model
predicted.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np
from numpy.typing import NDArray

from kerasxai import scores
from kerasxai.data.shapes.forms import FORMS
from kerasxai.data.shapes.language import CAPTION_LENGTH, CAPTION_WORDS, NOBODY, swapped
from kerasxai.data.shapes.pairs import PATTERN_NAMES
from kerasxai.explainer import Explainer
from kerasxai.tools.lazy import resolve
from kerasxai.training.words.attention_reader import (
    END,
    PADDING,
    SIDE,
    START,
    attend,
    numbered,
    predictions,
    read_map,
    vocabulary,
)
from kerasxai.training.words.pointing_accuracy import Case, point
from kerasxai.training.words.reader_training import Batch, ReaderParts, maps_of
from kerasxai.training.words.word_metrics import ExplainedBatch
from kerasxai.training.words.word_task import WordTask

WORDS = vocabulary(CAPTION_WORDS)
_LENGTH = CAPTION_LENGTH + 1
_GROUPS = {"noun": FORMS, "adjective": PATTERN_NAMES}


def build_reader(maps: Sequence[int], width: int) -> keras.Model:
    """Build the trained part: from the backbone's map and the words so far to the logits of the next word.

    Args:
        maps: The shape of the backbone's map, `(h, w, K)`.
        width: Channels.
    """
    values = keras.Input(tuple(maps), name="maps")
    words = keras.Input((_LENGTH,), dtype="int32", name="words")
    embedded = keras.layers.Embedding(len(WORDS), width // 2, name="embedding")(words)
    states = keras.layers.GRU(width, return_sequences=True, name="decoder")(embedded)
    logits = attend(read_map(values, width), states, len(WORDS), width)
    return keras.Model([values, words], logits, name="reader")


def assemble(base: keras.Model, reader: keras.Model) -> keras.Model:
    """Join both parts: `image` and `words` in, probabilities `(B, T, words)` of each next word out."""
    image = keras.Input((SIDE, SIDE, 3), name="image")
    words = keras.Input((_LENGTH,), dtype="int32", name="words")
    logits = reader([base(image), words])
    return keras.Model({"image": image, "words": words}, predictions(logits, WORDS), name="captioner")


def _read(batch: Batch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the words before each word, the words, and weights that leave out the padding."""
    texts = [text.decode() for text in batch["caption"]]
    targets = numbered([f"{text} {WORDS[END]}" for text in texts], WORDS, _LENGTH)
    before = numbered([f"{WORDS[START]} {text}" for text in texts], WORDS, _LENGTH)
    return before, targets, (targets != PADDING).astype(np.float32)


def predict_captions(model: keras.Model, images: NDArray) -> NDArray[np.int32]:
    """Predict the caption of each image by greedy decoding.

    Args:
        model: A captioner.
        images: `(N, 160, 160, 3)`, raw RGB.

    Returns:
        `(N, 9)` int32, words as the input of the model: the start, the predicted words, `PADDING` after the end.
    """
    # The backbone is applied once, not once for each word.
    maps, reader = maps_of(model.get_layer("backbone"), images), model.get_layer("reader")
    words = np.full((len(maps), _LENGTH), PADDING, np.int32)
    words[:, 0] = START
    for index in range(1, _LENGTH):
        following = np.asarray(reader.predict_on_batch([maps, words]))[:, index - 1].argmax(axis=-1)
        ended = (words[:, index - 1] == PADDING) | (following == END)
        words[:, index] = np.where(ended, PADDING, following)
    return words


def spelled(words: np.ndarray) -> str:
    """Return a row of `predict_captions` as text."""
    return " ".join(WORDS[number] for number in words if number > END)


@dataclass(frozen=True)
class _Word:
    """One word of one caption: the image, the index in the row, and the group if it describes an object."""

    image: int
    index: int
    text: str
    group: str | None


def _words(captions: NDArray) -> list[_Word]:
    return [
        _Word(image, index, WORDS[number], next((name for name, its in _GROUPS.items() if WORDS[number] in its), None))
        for image, row in enumerate(captions)
        for index, number in enumerate(row)
        if number > END
    ]


def _heatmaps(explainer: Explainer, images: NDArray, captions: NDArray) -> NDArray:
    """Return the heatmap of each word of `_words`."""
    words = _words(captions)
    if not words:  # an untrained captioner may end each caption at once
        return np.zeros((0, SIDE, SIDE), np.float32)
    rows = [word.image for word in words]
    # The output at an index predicts the next word.
    targets = np.array([[word.index - 1, captions[word.image, word.index]] for word in words])
    return explainer({"image": images[rows], "words": captions[rows]}, targets).heatmaps


def described_object(word: str, forms: Sequence[int], patterns: Sequence[int]) -> int:
    """Return which of two objects a noun or an adjective describes, or `NOBODY`.

    Example:
        >>> described_object("spotted", forms=[0, 1], patterns=[0, 1])
        1
    """
    names = [(FORMS[form], PATTERN_NAMES[pattern]) for form, pattern in zip(forms, patterns, strict=True)]
    return next((number for number, words in enumerate(names) if word in words), NOBODY)


def explain_batch(model: keras.Model, explainer: Explainer, batch: Batch) -> ExplainedBatch:
    """Predict the captions of a batch, and explain each of their words."""
    captions = predict_captions(model, batch["image"])
    return _cases(batch, captions, _heatmaps(explainer, batch["image"], captions))


def _cases(batch: Batch, captions: NDArray, heatmaps: NDArray) -> ExplainedBatch:
    """Compare captions and the heatmaps of their words with the scenes."""
    texts = [spelled(row) for row in captions]
    # The order of the two objects is free: either caption is correct.
    correct = [text in (one.decode(), swapped(one.decode())) for text, one in zip(texts, batch["caption"], strict=True)]
    cases: list[Case] = []
    drawn: list[list[tuple[str, NDArray]]] = [[] for _ in captions]
    for word, heatmap in zip(_words(captions), heatmaps, strict=True):
        drawn[word.image].append((word.text, heatmap))
        if word.group is not None:
            described = described_object(word.text, batch["forms"][word.image], batch["patterns"][word.image])
            position, area = point(heatmap, batch["masks"][word.image], described)
            cases.append(Case(word.group, correct[word.image], position, area))
    return ExplainedBatch(cases, drawn, {"captions": len(correct), "true_captions": sum(correct)})


TASK = WordTask("caption", "words", ReaderParts(build_reader, _read, assemble), scores.token(), explain_batch)
caption = TASK.train_and_measure
train = TASK.train

if __name__ == "__main__":
    sys.exit(resolve("kerasxai.cli:main")(["caption", *sys.argv[1:]]))
