"""Models of other libraries, which look like Keras models and are none."""

from typing import Any

from kerasxai.tools.errors import KerasxaiError

_LIBRARIES = {
    "tf_keras": "a model of tf_keras (Keras 2); build it with keras (Keras 3) and load its weights, or write a "
    "SavedModel with model.export and load that with kerasxai.models.load",
    "tensorflow.python.keras": "a model of the Keras 2 inside TensorFlow; build it with keras (Keras 3)",
    "torch": "a PyTorch module; convert it to Keras",
    "flax": "a Flax module; convert it to Keras",
    "transformers": "a model of transformers; convert it to Keras",
}


def check_keras_model(model: Any, method: str) -> None:
    """Refuse a model of another library by its name.

    Args:
        model: Anything that is no Keras 3 model.
        method: The method that looks inside.

    Raises:
        KerasxaiError: It is a model of a library that is known.

    Example:
        >>> check_keras_model(lambda images: images, "gradcam")
    """
    modules = [kind.__module__ for kind in type(model).__mro__]
    for library, told in _LIBRARIES.items():
        if any(module == library or module.startswith(f"{library}.") for module in modules):
            raise KerasxaiError(
                f"expected a Keras 3 model, got {told}; or give a function from images to scores, both NumPy, to a "
                f"method that asks for nothing else, such as rise or lime, in place of {method}"
            )
