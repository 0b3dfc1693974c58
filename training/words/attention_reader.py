"""The reader of captioning and question answering: words as numbers, and attention to the positions of a map."""

from collections.abc import Sequence

import keras
import numpy as np

from kerasxai.models.attended_evidence import AttendedEvidence
from kerasxai.models.heads import Predictions
from kerasxai.models.positions import Coordinates
from kerasxai.tools.errors import KerasxaiError

SIDE = 160
EVIDENCE = "reader/evidence"
"""The path of the map from which the words are read, and at which they are explained."""
PADDING, START, END = 0, 1, 2
_MARKS = ("", "<start>", "<end>")
_HEADS = 4


def vocabulary(words: Sequence[str]) -> tuple[str, ...]:
    """Return words after the marks for padding, start and end; the number of a word is its index."""
    return (*_MARKS, *words)


def numbered(texts: Sequence[str], words: Sequence[str], length: int, at_end: bool = False) -> np.ndarray:
    """Convert texts to numbers of words, `(N, length)` int32, padded with `PADDING`.

    Args:
        texts: Words separated by blanks.
        words: As `vocabulary` returns them.
        length: Numbers in each row.
        at_end: Whether to pad on the left, so that a recurrent layer ends with the last word.

    Raises:
        KerasxaiError: A word is not in the vocabulary, or a text is too long.

    Example:
        >>> numbered(["a star"], vocabulary(["a", "star"]), 3).tolist()
        [[3, 4, 0]]
    """
    numbers = {word: number for number, word in enumerate(words)}
    rows = np.full((len(texts), length), PADDING, np.int32)
    for row, text in zip(rows, texts, strict=True):
        parts = text.split()
        if len(parts) > length:
            raise KerasxaiError(f"expected a text of at most {length} words, got {len(parts)} in {text!r}")
        for word in parts:
            if word not in numbers:
                raise KerasxaiError(f"expected words of {', '.join(words[len(_MARKS) :])}, got {word!r} in {text!r}")
        start = length - len(parts) if at_end else 0
        row[start : start + len(parts)] = [numbers[word] for word in parts]
    return rows


def read_map(maps: keras.KerasTensor, width: int, with_positions: bool = False) -> keras.KerasTensor:
    """Apply two convolutions to the backbone's map; the last ReLU is called `features`.

    Args:
        maps: `(B, h, w, K)`.
        width: Channels.
        with_positions: Whether x and y are also concatenated at the end, so that the offset between two objects is one
            subtraction.

    Returns:
        The values for attention, `(B, h, w, C)`: the features of each position, and its coordinates.
    """
    for name in ("first", "features"):
        maps = keras.layers.Conv2D(width, 3, padding="same", use_bias=False, name=f"{name}_convolution")(maps)
        maps = keras.layers.BatchNormalization(momentum=0.9, name=f"{name}_normalization")(maps)
        maps = keras.layers.ReLU(name=name)(maps)
    located = Coordinates(name="coordinates")(maps)
    values = keras.layers.Dense(width, activation="relu", name="seen")(located)
    if not with_positions:
        return values
    return keras.layers.Concatenate(name="seen_and_where")([values, located[..., -2:]])


def attend(
    values: keras.KerasTensor, queries: keras.KerasTensor, words: int, width: int, glances: int = 2
) -> keras.KerasTensor:
    """Attend to positions of the map for each state, and predict the next word.

    All predictions are read from the map called `evidence`, which contains the attended values of each glance at each
    position.

    Args:
        values: `(B, h, w, C)` from `read_map`.
        queries: `(B, T, width)` states of a recurrent layer.
        words: Size of the vocabulary.
        width: Channels.
        glances: Number of attention steps; the query of a step after the first includes the result of the step before,
            which a comparison of two objects needs.

    Returns:
        Logits `(B, T, words)`.
    """
    state, known, found, key_dim = queries, queries, [], width // _HEADS
    for number in range(1, glances + 1):
        found.append(AttendedEvidence(_HEADS, key_dim, name=f"glance_{number}")(state, values))
        if number < glances:
            attended = keras.layers.Reshape((-1, _HEADS * key_dim), name=f"seen_{number}")(
                keras.ops.sum(found[-1], axis=(1, 2))
            )
            known = keras.layers.Concatenate(name=f"known_{number}")([known, attended])
            state = keras.layers.Dense(width, activation="relu", name=f"again_{number}")(known)
    evidence = keras.layers.Concatenate(name="evidence")(found)
    # Sum over positions for each glance, then concatenate the glances for each state.
    read = keras.layers.Reshape((glances, -1, _HEADS * key_dim), name="found")(keras.ops.sum(evidence, axis=(1, 2)))
    read = keras.layers.Concatenate(name="read")([queries, *(read[:, number] for number in range(glances))])
    combined = keras.layers.Dense(2 * width, activation="relu", name="said")(read)
    return keras.layers.Dense(words, name="logits")(combined)


def predictions(logits: keras.KerasTensor, words: Sequence[str]) -> keras.KerasTensor:
    """Convert logits to probabilities; the layer also saves the words with the model."""
    return Predictions(list(words), name="predictions", dtype="float32")(logits)
