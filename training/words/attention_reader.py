"""What captioning and question answering share: a frozen backbone, a map that is read by attention, one training loop.

The backbone's maps do not change, so that they are computed once; what is trained above them is called the reader. The
finished model is both in one, from pixels to words.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from rich.progress import track

from kerasxai import data, models
from kerasxai.data.scenes import count_scenes
from kerasxai.models.attended_evidence import AttendedEvidence
from kerasxai.models.heads import Predictions
from kerasxai.models.positions import Coordinates
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.folders import locked
from kerasxai.training.run_folder import KeepEpochs, RunFolder
from kerasxai.training.words.scene_config import SceneConfig

SIDE = 160
EVIDENCE = "reader/evidence"
"""The path of the map that the words are read from: where Grad-CAM looks."""
PADDING, START, END = 0, 1, 2
_MARKS = ("", "<start>", "<end>")
_CHUNK = 64
_HEADS = 4


def vocabulary(words: Sequence[str]) -> tuple[str, ...]:
    """Returns words with the marks for nothing, start and end before them; a word's number is its place."""
    return (*_MARKS, *words)


def numbered(texts: Sequence[str], words: Sequence[str], length: int, at_end: bool = False) -> np.ndarray:
    """Returns texts as numbers of words, `(N, length)` int32, filled up with `PADDING`.

    Args:
        texts: Words with blanks between them.
        words: As `vocabulary` returns them.
        length: How many numbers a text gets.
        at_end: Whether the words stand at the end of the row, so that a recurrent layer ends on the last word.

    Raises:
        KerasxaiError: A word is not in the vocabulary, or a text is too long.

    Example:
        >>> numbered(["a star"], vocabulary(["a", "star"]), 3).tolist()
        [[3, 4, 0]]
    """
    places = {word: number for number, word in enumerate(words)}
    rows = np.full((len(texts), length), PADDING, np.int32)
    for row, text in zip(rows, texts, strict=True):
        parts = text.split()
        if len(parts) > length:
            raise KerasxaiError(f"{text!r} has {len(parts)} words; {length} are the most")
        for word in parts:
            if word not in places:
                raise KerasxaiError(f"the word {word!r} in {text!r} is not known; known are: {', '.join(words[3:])}")
        start = length - len(parts) if at_end else 0
        row[start : start + len(parts)] = [places[word] for word in parts]
    return rows


def backbone(config: SceneConfig) -> keras.Model:
    """Returns the frozen backbone, from raw pixels to the map that the reader stands on."""
    weights = None if config.weights == "none" else config.weights
    whole = models.build_classifier(config.backbone, 2, weights=weights, input_size=SIDE, features=config.features)
    base = whole.get_layer("backbone")
    base.trainable = False
    return base


def read_map(maps: Any, width: int, placed: bool = False) -> Any:
    """Puts two convolutions on the backbone's map; the last ReLU is called `features`.

    Args:
        maps: `(B, h, w, K)`.
        width: Channels.
        placed: Whether x and y of each place also stand beside what was made of them: differences of places, as
            between two objects, are then one subtraction.

    Returns:
        What attention can choose from, `(B, h, w, C)`: the features of each place, and where it is.
    """
    for name in ("first", "features"):
        maps = keras.layers.Conv2D(width, 3, padding="same", use_bias=False, name=f"{name}_convolution")(maps)
        maps = keras.layers.BatchNormalization(momentum=0.9, name=f"{name}_normalization")(maps)
        maps = keras.layers.ReLU(name=name)(maps)
    located = Coordinates(name="coordinates")(maps)
    seen = keras.layers.Dense(width, activation="relu", name="seen")(located)
    return keras.layers.Concatenate(name="seen_and_where")([seen, located[..., -2:]]) if placed else seen


def attend(places: Any, asked: Any, words: int, width: int, glances: int = 2) -> Any:
    """Looks at the places that each state asks for, and says what follows.

    All that is said is read from the map called `evidence`, which holds what each glance finds at each place.

    Args:
        places: `(B, h, w, C)` from `read_map`.
        asked: `(B, T, width)` states of a recurrent layer.
        words: How many words there are.
        width: Channels.
        glances: How often it looks; each glance after the first asks with what was seen before, as one must who
            compares two objects.

    Returns:
        Logits `(B, T, words)`.
    """
    state, known, found, key_dim = asked, asked, [], width // _HEADS
    for number in range(1, glances + 1):
        found.append(AttendedEvidence(_HEADS, key_dim, name=f"glance_{number}")(state, places))
        if number < glances:
            seen = keras.layers.Reshape((-1, _HEADS * key_dim), name=f"seen_{number}")(
                keras.ops.sum(found[-1], axis=(1, 2))
            )
            known = keras.layers.Concatenate(name=f"known_{number}")([known, seen])
            state = keras.layers.Dense(width, activation="relu", name=f"again_{number}")(known)
    evidence = keras.layers.Concatenate(name="evidence")(found)
    # What each glance found in all, then for each state what all glances found.
    read = keras.layers.Reshape((glances, -1, _HEADS * key_dim), name="found")(keras.ops.sum(evidence, axis=(1, 2)))
    read = keras.layers.Concatenate(name="read")([asked, *(read[:, number] for number in range(glances))])
    said = keras.layers.Dense(2 * width, activation="relu", name="said")(read)
    return keras.layers.Dense(words, name="logits")(said)


def predictions(logits: Any, words: Sequence[str]) -> Any:
    """Turns logits into probabilities; the words go into the saved model with them."""
    return Predictions(list(words), name="predictions", dtype="float32")(logits)


def batches(split: str, config: SceneConfig, limit: int | None, what: str, masks: bool = False) -> Iterator[Any]:
    """Yields batches of a split as NumPy arrays, with a progress bar."""
    count = count_scenes(split, config.data_dir)
    count = count if limit is None else min(limit, count)
    scenes = data.load_scenes(split, data_dir=config.data_dir, with_masks=masks).take(count).batch(_CHUNK)
    yield from track(scenes.as_numpy_iterator(), what, total=-(-count // _CHUNK), transient=True)


def maps_of(base: keras.Model, images: Any) -> np.ndarray:
    """Returns the backbone's maps of uint8 images, in half precision, which is how they are kept."""
    return np.asarray(base.predict_on_batch(tf.cast(images, tf.float32)), np.float16)


def trained(
    config: SceneConfig,
    out: str | Path,
    build_reader: Callable[[Sequence[int], int], keras.Model],
    read: Any,
    assemble: Callable[[keras.Model, keras.Model], keras.Model],
    verbose: Any = "auto",
) -> keras.Model:
    """Trains a reader and returns the whole model; one that is finished is loaded, one that was stopped goes on.

    Args:
        config: What to train.
        out: The run's folder.
        build_reader: A function from the shape of the backbone's map and the width to a new reader.
        read: As `_fit_reader` takes it.
        assemble: A function from backbone and reader to the whole model.
        verbose: As `keras.Model.fit` takes it.

    Raises:
        KerasxaiError: The folder holds another run.
    """
    with locked(out):
        config.check_same(Path(out))
        folder = RunFolder(Path(out))
        if folder.model.exists():
            return models.load(folder.model)
        keras.utils.set_random_seed(config.seed)
        base = backbone(config)
        new = None if folder.rows else build_reader(base.output_shape[1:], config.width)
        config.write(folder.path)
        model = assemble(base, _fit_reader(config, folder, new, read, base, verbose))
        folder.write_json("metrics.json", folder.summary())
        folder.finish(model)
        return model


def _fit_reader(
    config: SceneConfig,
    folder: RunFolder,
    reader: keras.Model | None,
    read: Any,
    base: keras.Model,
    verbose: Any = "auto",
) -> keras.Model:
    """Trains a reader on maps that are computed once; a run that was stopped goes on where it was.

    Args:
        config: What to train.
        folder: Where epochs are kept.
        reader: A new, untrained reader; not used where there are epochs to go on from.
        read: A function from a batch to what stands beside the maps, its targets, and their weights or None.
        base: The backbone.
        verbose: As `keras.Model.fit` takes it.

    Returns:
        The reader of the epoch with the lowest validation loss.
    """
    done = len(folder.rows)
    if done < config.epochs and not folder.stale(config.task, config.patience):
        training = _arrays(config, "train", config.train_images, read, base)
        validation = _arrays(config, "validation", None, read, base)
        steps = -(-len(training[0][0]) // config.batch_size)
        if done:
            reader = models.load(folder.checkpoint(folder.rows[-1]["epoch"]), compile=True)
        else:
            assert reader is not None
            _compile(reader, config, steps * config.epochs)
        pairs = tf.data.Dataset.from_tensor_slices(training)
        pairs = pairs.shuffle(len(training[0][0]), seed=config.seed, reshuffle_each_iteration=True)
        pairs = pairs.batch(config.batch_size).prefetch(tf.data.AUTOTUNE)
        reader.fit(
            # Each pass has an order of its own; the passes already made are left out.
            pairs.repeat().skip(steps * done),
            steps_per_epoch=steps,
            initial_epoch=done,
            epochs=config.epochs,
            validation_data=tf.data.Dataset.from_tensor_slices(validation).batch(_CHUNK),
            shuffle=False,  # the pairs come mixed
            callbacks=[KeepEpochs(folder, config.task, config.patience)],
            verbose=verbose,
        )
    return models.load(folder.best)


def _arrays(config: SceneConfig, split: str, limit: int | None, read: Any, base: keras.Model) -> tuple[Any, ...]:
    """Returns a split as `((maps, words), targets)` or `((maps, words), targets, weights)`."""
    parts = []
    for batch in batches(split, config, limit, f"computing the features of {split}"):
        beside, targets, weights = read(batch)
        parts.append((maps_of(base, batch["image"]), beside, targets, *([] if weights is None else [weights])))
    maps, beside, *rest = (np.concatenate(part) for part in zip(*parts, strict=True))
    return ((maps, beside), *rest)


def _compile(reader: keras.Model, config: SceneConfig, steps: int) -> None:
    rate = keras.optimizers.schedules.CosineDecay(config.learning_rate, steps)
    reader.compile(
        keras.optimizers.AdamW(rate, weight_decay=1e-4, global_clipnorm=1.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        weighted_metrics=["accuracy"],
        # On a CPU, XLA makes such small models slower.
        jit_compile="auto" if tf.config.list_physical_devices("GPU") else False,
    )
