"""Try which libraries explain which kinds of Keras models with Grad-CAM.

Each library is called as in its documentation: with its own choice of the layer, and if that fails, with the name of
the backbone as the layer. Libraries that are not installed are left out.
"""

import argparse
import contextlib
import importlib.util
import io
from collections.abc import Callable, Iterator
from types import MappingProxyType
from typing import Any

import keras
import numpy as np

from benchmarks.tables import Table, report

QUICK = MappingProxyType({"models": ["functional", "subclassed"]})

SIZE = 96
CLASSES = 5
IMAGES = np.random.default_rng(0).uniform(0, 255, (2, SIZE, SIZE, 3)).astype(np.float32)
LIBRARIES = {"kerasxai": "kerasxai", "xplique": "xplique", "tf-keras-vis": "tf_keras_vis", "tf-explain": "tf_explain"}


def backbone() -> keras.Model:
    return keras.applications.MobileNetV2((SIZE, SIZE, 3), 0.35, include_top=False, weights=None)


def flat() -> keras.Model:
    """A functional model without another model in it."""
    base = backbone()
    pooled = keras.layers.GlobalAveragePooling2D()(base.output)
    return keras.Model(base.input, keras.layers.Dense(CLASSES, activation="softmax")(pooled))


def nested() -> keras.Model:
    """Transfer learning as in the guides of Keras: the backbone is called as a layer."""
    inputs = keras.Input((SIZE, SIZE, 3))
    x = backbone()(keras.layers.Rescaling(1 / 127.5, -1)(inputs), training=False)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(CLASSES, activation="softmax")(x))


def sequential() -> keras.Model:
    """The backbone in a `Sequential`."""
    top = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(CLASSES, activation="softmax")]
    return keras.Sequential([keras.Input((SIZE, SIZE, 3)), keras.layers.Rescaling(1 / 127.5, -1), backbone(), *top])


class Subclassed(keras.Model):
    """A subclassed model with a backbone."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = backbone()
        self.pool = keras.layers.GlobalAveragePooling2D()
        self.top = keras.layers.Dense(CLASSES, activation="softmax")

    def call(self, x: Any) -> Any:
        return self.top(self.pool(self.backbone(x)))


def subclassed() -> keras.Model:
    model = Subclassed()
    model(IMAGES)
    return model


MODELS: dict[str, Callable[[], keras.Model]] = {
    "functional": flat,
    "functional, backbone called as a layer": nested,
    "`Sequential` with a backbone": sequential,
    "subclassed": subclassed,
}


def by_kerasxai(model: keras.Model, layer: str | None) -> Any:
    import kerasxai

    return kerasxai.Explainer(model, "gradcam", layer=layer)(IMAGES).heatmaps


def by_xplique(model: keras.Model, layer: str | None) -> Any:
    from xplique.attributions import GradCAM

    targets = np.eye(CLASSES, dtype=np.float32)[model.predict(IMAGES, verbose=0).argmax(-1)]
    return GradCAM(model, conv_layer=layer)(IMAGES, targets)


def by_tf_keras_vis(model: keras.Model, layer: str | None) -> Any:
    from tf_keras_vis.gradcam import Gradcam
    from tf_keras_vis.utils.model_modifiers import ReplaceToLinear
    from tf_keras_vis.utils.scores import CategoricalScore

    explainer = Gradcam(model, model_modifier=ReplaceToLinear(), clone=True)
    return explainer(CategoricalScore([0, 0]), IMAGES, penultimate_layer=-1 if layer is None else layer)


def by_tf_explain(model: keras.Model, layer: str | None) -> Any:
    from tf_explain.core.grad_cam import GradCAM

    return GradCAM().explain((IMAGES, None), model, class_index=0, layer_name=layer)


EXPLAIN = {
    "kerasxai": by_kerasxai,
    "xplique": by_xplique,
    "tf-keras-vis": by_tf_keras_vis,
    "tf-explain": by_tf_explain,
}


def outcome(explain: Callable[[keras.Model, str | None], Any], make: Callable[[], keras.Model]) -> str:
    """Return "yes", "with the layer named", or the kind of the first error."""
    errors: list[str] = []
    for named in (False, True):
        keras.utils.set_random_seed(0)
        model = make()
        layer = next((one.name for one in model.layers if isinstance(one, keras.Model)), None)
        if named and layer is None:
            break
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                found = np.asarray(explain(model, layer if named else None))
        # The kind of error is the result, whichever it is.
        except Exception as error:
            text = str(error).strip().splitlines()
            report(f"{type(error).__name__}: {text[0][:100] if text else ''}")
            errors.append(f"no: `{type(error).__name__}`")
            continue
        if not np.isfinite(found).all():
            errors.append("no: not finite")
            continue
        return "with the layer named" if named else "yes"
    return errors[0]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--libraries", nargs="+", choices=LIBRARIES, default=list(LIBRARIES))
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), metavar="MODEL")


def run(arguments: argparse.Namespace) -> Iterator[Table]:
    found = [name for name in arguments.libraries if importlib.util.find_spec(LIBRARIES[name]) is not None]
    if missing := [name for name in arguments.libraries if name not in found]:
        report(f"not installed: {', '.join(missing)}")
    rows = []
    for kind in arguments.models:
        rows.append((kind, *(outcome(EXPLAIN[library], MODELS[kind]) for library in found)))
        report(" | ".join(rows[-1]))
    notes = ("Grad-CAM with random weights of MobileNetV2 (alpha 0.35, 96 pixels).",)
    yield Table("gradcam", "Models that can be explained", ("model", *found), tuple(rows), notes)
