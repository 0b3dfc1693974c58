"""A model that answers questions about two objects: trained, measured and drawn question by question.

Run it as `kerasxai vqa ...` or `python -m kerasxai.training.words.vqa ...`.

The explained score is the log-probability of the predicted answer. A question is about the object of its true answer.
"""

import sys
from collections.abc import Sequence

import keras
import numpy as np
from numpy.typing import NDArray

from kerasxai import scores
from kerasxai.data.shapes.language import ANSWERS, KINDS, NOBODY, QUESTION_LENGTH, QUESTION_WORDS
from kerasxai.explainer import Explainer
from kerasxai.tools.lazy import resolve
from kerasxai.training.words.attention_reader import SIDE, attend, numbered, predictions, read_map, vocabulary
from kerasxai.training.words.pointing_accuracy import Case, point
from kerasxai.training.words.reader_training import Batch, ReaderParts
from kerasxai.training.words.word_metrics import ExplainedBatch
from kerasxai.training.words.word_task import WordTask

WORDS = vocabulary(QUESTION_WORDS)


def build_reader(maps: Sequence[int], width: int) -> keras.Model:
    """Build the trained part: from the backbone's map and any number of questions to the logits of the answers.

    Args:
        maps: The shape of the backbone's map, `(h, w, K)`.
        width: Channels.
    """
    values = keras.Input(tuple(maps), name="maps")
    questions = keras.Input((None, QUESTION_LENGTH), dtype="int32", name="questions")
    one = keras.Input((QUESTION_LENGTH,), dtype="int32", name="question")
    embedded = keras.layers.Embedding(len(WORDS), width // 2, name="embedding")(one)
    encoder = keras.Model(one, keras.layers.GRU(width, name="encoder")(embedded), name="understood")
    # All questions about an image share its map, which is by far the most work.
    queries = keras.layers.TimeDistributed(encoder, name="asked")(questions)
    # "Where is the star?" needs the star and the other object: find the one, then compare.
    logits = attend(read_map(values, width, with_positions=True), queries, len(ANSWERS), width)
    return keras.Model([values, questions], logits, name="reader")


def assemble(base: keras.Model, reader: keras.Model) -> keras.Model:
    """Join both parts: `image` and one `question` in, probabilities `(B, answers)` out."""
    image = keras.Input((SIDE, SIDE, 3), name="image")
    question = keras.Input((QUESTION_LENGTH,), dtype="int32", name="question")
    logits = reader([base(image), keras.layers.Reshape((1, QUESTION_LENGTH), name="one_question")(question)])
    logits = keras.layers.Reshape((len(ANSWERS),), name="one_answer")(logits)
    return keras.Model({"image": image, "question": question}, predictions(logits, ANSWERS), name="answerer")


def _numbers(questions: np.ndarray) -> np.ndarray:
    texts = [text.decode() for text in questions.ravel()]
    return numbered(texts, WORDS, QUESTION_LENGTH, at_end=True).reshape(*questions.shape, QUESTION_LENGTH)


def _read(batch: Batch) -> tuple[np.ndarray, np.ndarray, None]:
    """Return the questions, the answers, and no weights."""
    numbers = {answer.encode(): number for number, answer in enumerate(ANSWERS)}
    answers = np.array([[numbers[answer] for answer in row] for row in batch["answers"]], np.int32)
    return _numbers(batch["questions"]), answers, None


def explain_batch(model: keras.Model, explainer: Explainer, batch: Batch) -> ExplainedBatch:
    """Answer the questions of a batch, and explain each answer."""
    questions, images = _numbers(batch["questions"]), batch["image"]
    shape = questions.shape[:2]
    inputs = {"image": np.repeat(images, shape[1], axis=0), "question": questions.reshape(-1, QUESTION_LENGTH)}
    explanation = explainer(inputs)
    heatmaps = explanation.heatmaps.reshape(*shape, *explanation.heatmaps.shape[1:])
    return _cases(batch, explanation.targets.reshape(shape), heatmaps)


def _cases(batch: Batch, answers: NDArray, heatmaps: NDArray) -> ExplainedBatch:
    """Compare answers and their heatmaps with the scenes."""
    cases: list[Case] = []
    drawn: list[list[tuple[str, NDArray]]] = [[] for _ in answers]
    counts = {name: 0 for kind in KINDS for name in (f"{kind}_questions", f"{kind}_right")}
    for image, number in np.ndindex(answers.shape):
        answer, kind = ANSWERS[answers[image, number]], KINDS[batch["kinds"][image, number]]
        correct = answer == bytes(batch["answers"][image, number]).decode()
        counts[f"{kind}_questions"] += 1
        counts[f"{kind}_right"] += correct
        heatmap = heatmaps[image, number]
        question = bytes(batch["questions"][image, number]).decode()
        drawn[image].append((f"{question}? {answer}", heatmap))
        # A question with the true answer "nothing" is about no object, and has no correct position.
        about = int(batch["about"][image, number])
        if about != NOBODY:
            position, area = point(heatmap, batch["masks"][image], about)
            cases.append(Case(kind, correct, position, area))
    return ExplainedBatch(cases, drawn, counts)


TASK = WordTask("vqa", "questions", ReaderParts(build_reader, _read, assemble), scores.log_probability(), explain_batch)
vqa = TASK.train_and_measure
train = TASK.train

if __name__ == "__main__":
    sys.exit(resolve("kerasxai.cli:main")(["vqa", *sys.argv[1:]]))
