"""Models of other libraries that resemble Keras models."""

from kerasxai.tools.errors import KerasxaiError

_LIBRARIES = {
    "tf_keras": "a model of tf_keras (Keras 2); build it with keras (Keras 3) and load its weights, or write a "
    "SavedModel with model.export and load that with kerasxai.models.load",
    "tensorflow.python.keras": "a model of the Keras 2 inside TensorFlow; build it with keras (Keras 3)",
    "torch": "a PyTorch module; convert it to Keras",
    "flax": "a Flax module; convert it to Keras",
    "transformers": "a model of transformers; convert it to Keras",
}


def check_keras_model(model: object, method: str) -> None:
    """Raise an error that names the library of a model that is not from Keras 3.

    Args:
        model: Any object other than a Keras 3 model.
        method: The requested method, which needs the layers of the model.

    Raises:
        KerasxaiError: It is a model of a known other library.

    Example:
        >>> check_keras_model(lambda images: images, "gradcam")
    """
    modules = [kind.__module__ for kind in type(model).__mro__]
    for library, description in _LIBRARIES.items():
        if any(module == library or module.startswith(f"{library}.") for module in modules):
            raise KerasxaiError(
                f"expected a Keras 3 model, got {description}; or give a function from images to scores, both NumPy, "
                f"to a method that needs nothing else, such as rise or lime, in place of {method}"
            )
