"""Write the saved models of this folder, and what version 0.1.0 predicts with them.

It was run once, at the commit of version 0.1.0 (a921b2d), with TensorFlow 2.21 and Keras 3.15:

    PYTHONPATH=<checkout of a921b2d> python tests/data/saved_models_0_1_0/make.py

Do not run it with a later version: the files show that models saved by 0.1.0 still load.
"""

from pathlib import Path
from typing import Any

import keras
import numpy as np

import kerasxai
from kerasxai.models.adl import AttentionDropout
from kerasxai.models.evidence import AttendedEvidence
from kerasxai.models.heads import Predictions
from kerasxai.models.optimizers import SharedAdamW, SharedSGD
from kerasxai.models.positions import Coordinates
from kerasxai.models.preprocessing import ReverseChannels

HERE = Path(__file__).parent
SIZE, CLASSES = 32, 3


def backbone() -> keras.Model:
    image = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Rescaling(1 / 127.5, -1.0)(image)
    x = ReverseChannels()(x)
    x = keras.layers.Conv2D(6, 3, 2, "same", activation="relu", name="conv1")(x)
    x = Coordinates()(x)
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu", name="conv2")(x)
    x = keras.layers.MaxPooling2D(3, 2, "same", name="pool")(x)
    x = keras.layers.AveragePooling2D(3, 1, "same", name="average")(x)
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu", name="conv3")(x)
    return keras.Model(image, x, name="tiny")


def classifier(head: str) -> keras.Model:
    # Between them the heads save every layer and optimizer that the package registers with Keras.
    options: dict[str, dict[str, Any]] = {
        "gap": {"depth": 1, "width": 8, "dropout": 0.1, "insert": {"conv2": AttentionDropout(seed=0, name="adl")}},
        "conv1x1": {"depth": 1, "width": 8, "output_stride": 2},
        "acol": {"width": 8},
        "spg": {"width": 8},
    }
    names = [f"class {number}" for number in range(CLASSES)]
    return kerasxai.build_classifier(backbone(), CLASSES, head, class_names=names, seed=1, **options[head])


def attention_model() -> keras.Model:
    tiny = backbone()
    maps = tiny(image := keras.Input((SIZE, SIZE, 3), name="image"))
    states = keras.layers.Reshape((2, 4))(keras.layers.GlobalAveragePooling2D()(maps))
    evidence = AttendedEvidence(heads=2, key_dim=4, name="evidence")(states, maps)
    found = keras.layers.GlobalAveragePooling2D(name="found")(evidence)
    return keras.Model(image, Predictions(name="predictions")(keras.layers.Dense(CLASSES, name="logits")(found)))


def main() -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, SIZE, SIZE, 3)).astype("uint8")
    recorded: dict[str, Any] = {"images": images}
    for number, name in enumerate([*kerasxai.HEADS, "attention"]):
        keras.utils.set_random_seed(number)
        model = attention_model() if name == "attention" else classifier(name)
        shares = [1.0] * len(model.trainable_variables)
        optimizer = (
            SharedSGD(0.1, momentum=0.9, decay=1e-4, shares=shares)
            if name == "gap"
            else SharedAdamW(0.01, shares=shares)
        )
        model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
        # Some steps, so that statistics, optimizer and seeds are saved in a state that is not their first.
        model.fit(images.astype("float32"), np.arange(4) % CLASSES, epochs=10, verbose=0)
        model.save(HERE / f"{name}.keras")
        explanation = kerasxai.Explainer(model, "gradcam" if name == "attention" else "cam")(images.astype("float32"))
        recorded[f"{name}_predictions"] = model.predict(images.astype("float32"), verbose=0)
        recorded[f"{name}_targets"] = explanation.targets
        recorded[f"{name}_maps"] = explanation.heatmaps
    np.savez_compressed(HERE / "recorded.npz", **recorded)


if __name__ == "__main__":
    main()
