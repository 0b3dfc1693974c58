"""The methods of other TensorFlow libraries.

Each function takes a Keras model that ends in softmax and returns `{method: explain}`, where `explain(images, targets)`
calls an explainer that was made once. `lime` is called with its default segmentation, which is part of its time.
"""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.cases import MASKS, NOISY, PATCH, SAMPLES, STEPS, STRIDE

Explain = Callable[[np.ndarray, np.ndarray], Any]


def xplique(model: Any) -> dict[str, Explain]:
    from xplique import attributions
    from xplique.attributions.lime import Lime

    made = {
        "gradcam": attributions.GradCAM(model),
        "gradcam++": attributions.GradCAMPP(model),
        "saliency": attributions.Saliency(model),
        "guided_backprop": attributions.GuidedBackprop(model),
        "deconvnet": attributions.DeconvNet(model),
        "integrated_gradients": attributions.IntegratedGradients(model, steps=STEPS),
        "smoothgrad": attributions.SmoothGrad(model, nb_samples=NOISY),
        "occlusion": attributions.Occlusion(model, patch_size=PATCH, patch_stride=STRIDE),
        "rise": attributions.Rise(model, nb_samples=MASKS),
        # Without a map of segments it would fit a weight for each pixel.
        "lime": Lime(model, batch_size=32, nb_samples=SAMPLES, map_to_interpret_space=_squares),
    }
    classes = model.output_shape[-1]
    return {name: _with_one_hot(explainer, classes) for name, explainer in made.items()}


def _with_one_hot(explainer: Any, classes: int) -> Explain:
    return lambda images, targets: explainer(images, np.eye(classes, dtype=np.float32)[targets])


def _squares(image: Any) -> Any:
    """Cuts an image into 7x7 squares, which takes no time."""
    rows, columns = (tf.range(side) * 7 // side for side in image.shape[:2])
    return rows[:, None] * 7 + columns


def tf_keras_vis(model: Any) -> dict[str, Explain]:
    from tf_keras_vis.gradcam import Gradcam
    from tf_keras_vis.gradcam_plus_plus import GradcamPlusPlus
    from tf_keras_vis.layercam import Layercam
    from tf_keras_vis.saliency import Saliency
    from tf_keras_vis.scorecam import Scorecam
    from tf_keras_vis.utils.model_modifiers import ReplaceToLinear
    from tf_keras_vis.utils.scores import CategoricalScore

    def made(kind: Any, **options: Any) -> Explain:
        explainer = kind(model, model_modifier=ReplaceToLinear(), clone=True)
        return lambda images, targets: explainer(CategoricalScore(targets.tolist()), images, **options)

    return {
        "gradcam": made(Gradcam),
        "gradcam++": made(GradcamPlusPlus),
        "layercam": made(Layercam),
        "saliency": made(Saliency),
        "smoothgrad": made(Saliency, smooth_samples=NOISY),
        "scorecam": made(Scorecam),
    }


def tf_explain(model: Any) -> dict[str, Explain]:
    from tf_explain.core.integrated_gradients import IntegratedGradients
    from tf_explain.core.occlusion_sensitivity import OcclusionSensitivity
    from tf_explain.core.smoothgrad import SmoothGrad

    def made(explainer: Any, **options: Any) -> Explain:
        # It takes one class for all images.
        return lambda images, targets: explainer.explain((images, None), model, int(targets[0]), **options)

    return {
        "integrated_gradients": made(IntegratedGradients(), n_steps=STEPS),
        "smoothgrad": made(SmoothGrad(), num_samples=NOISY),
        "occlusion": made(OcclusionSensitivity(batch_size=32), patch_size=PATCH),
    }


def saliency(model: Any) -> dict[str, Explain]:
    import saliency.core as core

    def call(images: np.ndarray, call_model_args: Any = None, expected_keys: Any = None) -> dict[str, Any]:
        with tf.GradientTape() as tape:
            tensor = tf.convert_to_tensor(images, tf.float32)
            tape.watch(tensor)
            score = model(tensor, training=False)[:, call_model_args]
        return {core.INPUT_OUTPUT_GRADIENTS: tape.gradient(score, tensor).numpy()}

    def each(mask: Callable[[np.ndarray, Any], Any]) -> Explain:
        return lambda images, targets: [mask(x, t) for x, t in zip(images, targets, strict=True)]

    plain, path = core.GradientSaliency(), core.IntegratedGradients()
    return {
        "saliency": each(lambda x, t: plain.GetMask(x, call, t)),
        "smoothgrad": each(lambda x, t: plain.GetSmoothedMask(x, call, t, nsamples=NOISY)),
        "integrated_gradients": each(
            lambda x, t: path.GetMask(x, call, t, x_steps=STEPS, x_baseline=np.zeros_like(x), batch_size=32)
        ),
    }


def lime(model: Any) -> dict[str, Explain]:
    from lime.lime_image import LimeImageExplainer

    explainer = LimeImageExplainer(random_state=0)
    function = tf.function(lambda images: model(images, training=False))
    quiet = (
        {"progress_bar": False} if "progress_bar" in inspect.signature(explainer.explain_instance).parameters else {}
    )

    def explain(images: np.ndarray, targets: np.ndarray) -> Any:
        return explainer.explain_instance(
            images[0].astype(np.float64),
            lambda copies: function(tf.constant(copies, tf.float32)).numpy(),
            labels=(int(targets[0]),),
            top_labels=None,
            num_samples=SAMPLES,
            batch_size=32,
            **quiet,
        )

    return {"lime": explain}


PEERS: dict[str, Callable[[Any], dict[str, Explain]]] = {
    "xplique": xplique,
    "tf-keras-vis": tf_keras_vis,
    "tf-explain": tf_explain,
    "saliency": saliency,
    "lime": lime,
}
