"""Sentences about two objects: a caption, and questions with answers, each word with the object that it describes."""

from dataclasses import dataclass

import numpy as np

from kerasxai.data.shapes.forms import FORMS
from kerasxai.data.shapes.pairs import PATTERN_NAMES, RELATIONS
from kerasxai.tools.errors import KerasxaiError

NOBODY = -1
"""In place of an object, for words and questions that describe none."""
NOTHING = "nothing"
POSITIONS = ("left", "right", "above", "below")
KINDS = ("relation", "texture", "place", "which")
"""The kinds of question; each image has one of each kind about each object, in this order."""
CHANCE = {"relation": 1 / 8, "texture": 1 / 8, "place": 1 / 4, "which": 1 / 8}
"""How often the best guess from the question alone is right."""
_OPPOSITE = (1, 0, 3, 2)

CAPTION_WORDS = ("a", "left", "right", "of", "above", "below", *PATTERN_NAMES, *FORMS)
CAPTION_LENGTH = 8
QUESTION_WORDS = (
    *("what", "is", "where", "has", "texture", "the", "left", "right", "of", "above", "below"),
    *PATTERN_NAMES,
    *FORMS,
)
QUESTION_LENGTH = 6
ANSWERS = (*FORMS, *PATTERN_NAMES, *POSITIONS, NOTHING)


@dataclass(frozen=True)
class Question:
    """A question and its answer.

    Attributes:
        kind: One of `KINDS`.
        text: The question.
        answer: One word.
        about: The object that the answer describes, 0 or 1; `NOBODY` where the answer is "nothing".
        named: The object that the question names, by its form or its pattern.
    """

    kind: str
    text: str
    answer: str
    about: int
    named: int


def caption(forms: np.ndarray, patterns: np.ndarray, relation: int) -> tuple[str, list[int]]:
    """Return a sentence about two objects, and for each of its words the object that it describes, or `NOBODY`.

    Args:
        forms: `(2,)` indices into `FORMS`.
        patterns: `(2,)` indices into `PATTERN_NAMES`.
        relation: Index into `RELATIONS`.

    Example:
        >>> caption(np.array([0, 1]), np.array([0, 1]), 0)
        ('a striped star left of a spotted arrow', [-1, 0, 0, -1, -1, -1, 1, 1])
    """
    words: list[str] = []
    objects: list[int] = []
    for k in range(2):
        between = RELATIONS[relation].split() if k else []
        words += [*between, "a", PATTERN_NAMES[patterns[k]], FORMS[forms[k]]]
        objects += [NOBODY] * (len(between) + 1) + [k, k]
    return " ".join(words), objects


def swapped(text: str) -> str:
    """Return the other caption that is true of the same image, which begins with the other object.

    Example:
        >>> swapped("a striped star left of a spotted arrow")
        'a spotted arrow right of a striped star'
    """
    for relation, opposite in zip(RELATIONS, _OPPOSITE, strict=True):
        first, between, second = text.partition(f" {relation} ")
        if between:
            return f"{second} {RELATIONS[opposite]} {first}"
    raise KerasxaiError(f"expected a caption of two objects with one of {', '.join(RELATIONS)}, got {text!r}")


def questions(
    random: np.random.Generator, forms: np.ndarray, patterns: np.ndarray, relation: int
) -> tuple[Question, ...]:
    """Return eight questions: one of each kind about each object.

    One in eight questions of the first kind is about a position without an object, so that "nothing" is as frequent an
    answer as each of the seven other forms, and no question of this kind can be answered without the position.

    Args:
        random: Decides which questions are about an empty position, and which position.
        forms: `(2,)` indices into `FORMS`.
        patterns: `(2,)` indices into `PATTERN_NAMES`.
        relation: Index into `RELATIONS`: the relation of the first object to the second.
    """
    of_kind: dict[str, list[Question]] = {kind: [] for kind in KINDS}
    for named, other in ((0, 1), (1, 0)):
        form, pattern = FORMS[forms[named]], PATTERN_NAMES[patterns[named]]
        own = relation if named == 0 else _OPPOSITE[relation]
        true = _OPPOSITE[own]
        wrong = (true + int(random.integers(1, 4))) % 4
        misled = random.random() < 1 / 8
        text = f"what is {RELATIONS[wrong if misled else true]} the {form}"
        answer, about = (NOTHING, NOBODY) if misled else (FORMS[forms[other]], other)
        of_kind["relation"].append(Question("relation", text, answer, about, named))
        of_kind["texture"].append(Question("texture", f"what texture has the {form}", pattern, named, named))
        of_kind["place"].append(Question("place", f"where is the {form}", POSITIONS[own], named, named))
        of_kind["which"].append(Question("which", f"what is {pattern}", form, named, named))
    return tuple(question for kind in KINDS for question in of_kind[kind])
