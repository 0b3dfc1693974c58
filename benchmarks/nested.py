"""Which libraries explain which kinds of Keras models with Grad-CAM: `python -m benchmarks.nested [LIBRARY...]`.

Each library is called as its documentation shows: with its own choice of the layer, and where that fails, with the name
of the backbone as the layer. What is not installed is left out. `docs/peers.md` has the results.
"""

import contextlib
import importlib.metadata
import importlib.util
import io
import sys
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

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
    """Transfer learning as the guides of Keras show it: the backbone is called as a layer."""
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
    "nested": nested,
    "sequential with a backbone": sequential,
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
    """Return "yes", "yes, with the layer named", or the first error."""
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
        except Exception as error:  # Each library fails in its own way, which is what is reported.
            text = str(error).strip().splitlines()
            errors.append(f"{type(error).__name__}: {text[0][:100] if text else ''}")
            continue
        if not np.isfinite(found).all():
            errors.append("not finite")
            continue
        return "yes, with the layer named" if named else "yes"
    return errors[0]


def main() -> None:
    for name in ("tensorflow", "keras", *LIBRARIES):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            print(name, importlib.metadata.version(name))
    for library in sys.argv[1:] or LIBRARIES:
        module = LIBRARIES[library]
        if importlib.util.find_spec(module) is None:
            print(f"{library}: not installed")
            continue
        for kind, make in MODELS.items():
            print(f"{library}, {kind}: {outcome(EXPLAIN[library], make)}", flush=True)


if __name__ == "__main__":
    main()
