"""A model that answers questions about two objects: trained, measured and drawn question by question.

Run it as `kerasxai vqa ...` or `python -m kerasxai.training.words.vqa ...`.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasxai import scores
from kerasxai.data.shapes.language import ANSWERS, KINDS, NOBODY, QUESTION_LENGTH, QUESTION_WORDS
from kerasxai.tools.commands import run_module
from kerasxai.tools.folders import locked
from kerasxai.tools.settings import from_options
from kerasxai.training.words.attention_reader import (
    SIDE,
    attend,
    numbered,
    predictions,
    read_map,
    trained,
    vocabulary,
)
from kerasxai.training.words.pointing_accuracy import Case, point
from kerasxai.training.words.scene_config import VQA, SceneConfig
from kerasxai.training.words.word_metrics import explainer_of, measure

WORDS = vocabulary(QUESTION_WORDS)


def run(options: argparse.Namespace) -> None:
    """Trains, measures and draws as the command line says."""
    vqa(
        from_options(SceneConfig, options, task="vqa"),
        options.out,
        options.method,
        limit=options.limit,
        gallery=options.gallery,
    )


def vqa(
    config: SceneConfig,
    out: str | Path,
    method: str = "gradcam",
    *,
    limit: int | None = None,
    gallery: int = 6,
    verbose: Any = "auto",
) -> dict[str, Any]:
    """Trains a model that answers questions and measures where its heatmap for the answer has its maximum.

    What is explained is the log-probability of the answer that the model gives. The object that a question speaks of
    is the one that its true answer tells of; questions whose true answer is "nothing" speak of none and are not
    measured. Masks are read for measuring alone.

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
        >>> vqa(SceneConfig("vqa"), "runs/vqa")["questions"]["which"]["correct"]["share_on_object"]
    """
    with locked(out):
        return _vqa(config, out, method, limit, gallery, verbose)


def _vqa(
    config: SceneConfig, out: str | Path, method: str, limit: int | None, gallery: int, verbose: Any
) -> dict[str, Any]:
    model = train(config, out, verbose)
    explain = explainer_of(model, method, scores.log_probability())

    def explained(batch: Any) -> tuple[list[Case], list[list[Any]], dict[str, int]]:
        asked = _numbers(batch["questions"])
        images, count = batch["image"], asked.shape[1]
        given = {"image": np.repeat(images, count, axis=0), "question": asked.reshape(-1, QUESTION_LENGTH)}
        explanation = explain(given)
        maps = explanation.heatmaps.reshape(len(images), count, *explanation.heatmaps.shape[1:])
        return _cases(batch, explanation.targets.reshape(len(images), count), maps)

    return measure(config, out, method, explained, "questions", limit, gallery, verbose)


def build_reader(maps: Sequence[int], width: int) -> keras.Model:
    """Returns the part that is trained: from the backbone's map and any number of questions to the answers' logits.

    Args:
        maps: The shape of the backbone's map, `(h, w, K)`.
        width: Channels.
    """
    taken = keras.Input(tuple(maps), name="maps")
    questions = keras.Input((None, QUESTION_LENGTH), dtype="int32", name="questions")
    one = keras.Input((QUESTION_LENGTH,), dtype="int32", name="question")
    embedded = keras.layers.Embedding(len(WORDS), width // 2, name="embedding")(one)
    understood = keras.Model(one, keras.layers.GRU(width, name="encoder")(embedded), name="understood")
    # All questions about an image share its map, which is by far the most work.
    asked = keras.layers.TimeDistributed(understood, name="asked")(questions)
    # "Where is the star?" is answered by the star and by the other object: find the one, then compare.
    logits = attend(read_map(taken, width, placed=True), asked, len(ANSWERS), width)
    return keras.Model([taken, questions], logits, name="reader")


def assemble(base: keras.Model, reader: keras.Model) -> keras.Model:
    """Returns the whole model: `image` and one `question` in, probabilities `(B, answers)` out."""
    image = keras.Input((SIDE, SIDE, 3), name="image")
    question = keras.Input((QUESTION_LENGTH,), dtype="int32", name="question")
    logits = reader([base(image), keras.layers.Reshape((1, QUESTION_LENGTH), name="one_question")(question)])
    logits = keras.layers.Reshape((len(ANSWERS),), name="one_answer")(logits)
    return keras.Model({"image": image, "question": question}, predictions(logits, ANSWERS), name="answerer")


def train(config: SceneConfig, out: str | Path, verbose: Any = "auto") -> keras.Model:
    """Trains a model that answers questions; a run that was stopped goes on where it was.

    Args:
        config: What to train.
        out: The run's folder.
        verbose: As `keras.Model.fit` takes it.

    Returns:
        The model: a dict of `image` `(B, 160, 160, 3)` raw RGB and `question` `(B, 6)` in, probabilities out.

    Raises:
        KerasxaiError: An option is wrong, or the folder holds another run.
    """
    return trained(config, out, build_reader, _read, assemble, verbose)


def _numbers(questions: np.ndarray) -> np.ndarray:
    texts = [text.decode() for text in questions.ravel()]
    return numbered(texts, WORDS, QUESTION_LENGTH, at_end=True).reshape(*questions.shape, QUESTION_LENGTH)


def _read(batch: Any) -> tuple[np.ndarray, np.ndarray, None]:
    places = {answer.encode(): number for number, answer in enumerate(ANSWERS)}
    answers = np.array([[places[answer] for answer in row] for row in batch["answers"]], np.int32)
    return _numbers(batch["questions"]), answers, None


def _cases(
    batch: Any, answered: np.ndarray, heatmaps: np.ndarray
) -> tuple[list[Case], list[list[Any]], dict[str, int]]:
    """Returns the cases of a batch, for each image its questions with their maps, and how many answers are right."""
    cases: list[Case] = []
    drawn: list[list[Any]] = [[] for _ in answered]
    counts = {name: 0 for kind in KINDS for name in (f"{kind}_questions", f"{kind}_right")}
    for image, number in np.ndindex(answered.shape):
        answer, kind = ANSWERS[answered[image, number]], KINDS[batch["kinds"][image, number]]
        right = answer == batch["answers"][image, number].decode()
        counts[f"{kind}_questions"] += 1
        counts[f"{kind}_right"] += right
        heatmap = heatmaps[image, number]
        drawn[image].append((f"{batch['questions'][image, number].decode()}? {answer}", heatmap))
        about = int(batch["about"][image, number])
        if about != NOBODY:
            where, area = point(heatmap, batch["masks"][image], about)
            cases.append(Case(kind, right, where, area))
    return cases, drawn, counts


if __name__ == "__main__":
    sys.exit(run_module("kerasxai.training.words.vqa", VQA, run))
