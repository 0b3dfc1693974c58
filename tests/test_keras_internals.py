"""Names of Keras and TensorFlow that are not public: each still works, and none is used in another file."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasxai.engine import keras_internals as internals

L = keras.layers
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def model() -> Any:
    inner = keras.Sequential([keras.Input((8, 8, 3)), L.Conv2D(2, 3), L.Dropout(0.5)], name="inner")
    image = keras.Input((8, 8, 3), name="image", dtype="uint8")
    x = L.GlobalAveragePooling2D()(inner(keras.ops.cast(image, "float32")))
    return keras.Model({"image": image}, [L.Dense(2, name="top")(x)])


def test_layers_inside_layers(model: Any) -> None:
    assert [layer.name for layer in internals.child_layers(model)] == [layer.name for layer in model.layers]
    wrapped = L.TimeDistributed(L.Dense(2))
    assert internals.child_layers(wrapped) == [wrapped.layer]
    assert set(internals.layer_tree(model)) > {model, *model.layers, *model.get_layer("inner").layers}


def test_a_step_is_traced_once_where_the_training_state_is_built_before() -> None:
    traced: list[int] = []

    class Counting(keras.Model):
        def train_step(self, data: tuple[tf.Tensor, tf.Tensor]) -> dict[str, tf.Tensor]:
            traced.append(1)
            return super().train_step(data)

    def trained(builds: bool) -> tuple[list[Any], int]:
        keras.utils.set_random_seed(1)
        inputs = keras.Input((3,))
        model = Counting(inputs, L.Dense(2, activation="softmax")(L.Dropout(0.5)(inputs)))
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False)
        batches = tf.data.Dataset.from_tensor_slices((tf.random.stateless_normal((8, 3), (1, 2)), [0, 1] * 4)).batch(4)
        if builds:
            internals.build_training_state(model, batches)
        before = len(traced)
        losses = model.fit(batches, epochs=2, verbose=0, shuffle=False).history["loss"]
        return [*losses, *(np.asarray(variable.numpy()) for variable in model.variables)], len(traced) - before

    (plain, twice), (built, once) = trained(False), trained(True)
    assert (twice, once) == (2, 1)
    for one, other in zip(plain, built, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_model_that_takes_no_symbolic_tensors_is_left_to_fit() -> None:
    class Eager(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.dense = L.Dense(2)

        def call(self, inputs: tf.Tensor) -> tf.Tensor:
            return self.dense(inputs) * float(inputs.numpy().max())

    model = Eager()
    model.compile("sgd", "mse", run_eagerly=True)
    batches = tf.data.Dataset.from_tensor_slices((tf.ones((4, 3)), tf.ones((4, 2)))).batch(2)
    with pytest.raises(RuntimeError, match="Unable to automatically build"):
        model._symbolic_build(data_batch=batches.element_spec)
    internals.build_training_state(model, batches)
    assert model.fit(batches, verbose=0, shuffle=False).history["loss"]


def test_functional_models_say_how_they_take_inputs(model: Any) -> None:
    inner = model.get_layer("inner")
    assert internals.takes_training(inner) and not internals.takes_training(L.Flatten())
    assert internals.functional_of(model) is model
    functional = internals.functional_of(inner)
    assert functional is not inner and isinstance(functional, keras.Model)
    assert internals.converts_inputs(model) and internals.converts_inputs(functional)
    assert not internals.converts_inputs(L.Dense(1))
    assert [tensor.name for tensor in internals.declared_inputs(model)] == ["image"]
    assert set(internals.input_structure(model)) == {"image"} and len(internals.output_structure(model)) == 1
    assert internals.input_structure(L.Dense(1)) is None
    by_depth = internals.nodes_by_depth(model)
    assert [node.operation.name for node in by_depth[0]] == ["top"]
    assert all(node.is_input for node in by_depth[max(by_depth)])


@pytest.mark.parametrize("name", ["INPUT_CONVERSION", "INPUT_CHECK", "CLEAR_LOSSES"])
def test_patched_methods_exist_and_are_called(name: str, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    method = getattr(internals, name)
    called = []
    original = getattr(type(model), method)

    def recorded(self: Any, *args: Any) -> Any:
        called.append(self)
        return original(self, *args)

    monkeypatch.setattr(type(model), method, recorded)
    with tf.GradientTape():
        model({"image": tf.zeros((1, 8, 8, 3), "uint8")}, training=False)
    assert any(layer is model for layer in called)


def test_called_functions_are_found() -> None:
    @tf.function
    def doubled(x: Any) -> Any:
        return 2 * x

    def outer(x: Any) -> Any:
        return doubled(x)

    graph = tf.function(outer).get_concrete_function(tf.TensorSpec((3,))).graph
    call = next(op for op in graph.get_operations() if "PartitionedCall" in op.type)
    assert "Mul" in {op.type for op in internals.called_graph(call.outputs[0]).get_operations()}
    assert internals.called_graph(graph.inputs[0]) is None


def test_custom_gradients_of_a_trace_can_be_dropped() -> None:
    registry = internals.ops.gradient_registry
    before = len(registry.list())

    @tf.custom_gradient
    def swish(x: Any) -> Any:
        return tf.nn.sigmoid(x) * x, lambda upstream: upstream

    graph = tf.function(lambda x: swish(x)).get_concrete_function(tf.TensorSpec((3,))).graph
    assert len(registry.list()) > before
    internals.forget_custom_gradients(graph)
    assert len(registry.list()) == before


def test_tapes_record_below_an_init_scope() -> None:
    found = []
    for scope in (internals.recording_gradients, internals.contextlib.nullcontext):
        with tf.init_scope(), scope(), tf.GradientTape() as tape:
            x = tf.constant(3.0)
            tape.watch(x)
            y = x * x
        found.append(tape.gradient(y, x))
    assert found[0] == 6.0
    assert found[1] is None, "TensorFlow does so by itself now: recording_gradients can go"
    with tf.init_scope():
        with internals.recording_gradients():
            pass
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = x * x
        assert tape.gradient(y, x) is None, "the tapes of the thread are stopped as before"


def test_datasets_say_whether_they_shuffle() -> None:
    ordered = tf.data.Dataset.range(8)
    assert not internals.is_reshuffled(ordered.batch(2).prefetch(1))
    assert internals.is_reshuffled(ordered.shuffle(8).map(lambda x: x).batch(2))
    assert not internals.is_reshuffled(ordered.shuffle(8, reshuffle_each_iteration=False))


def _private(path: Path) -> Iterator[str]:
    """Yields each use of a name with an underscore that the file's own classes and functions do not define."""
    tree = ast.parse(path.read_text())
    own = {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    own |= {x.attr for x in ast.walk(tree) if isinstance(x, ast.Attribute) and isinstance(x.ctx, ast.Store)}
    for node in ast.walk(tree):
        name: Any = ""
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) not in ("self", "cls"):
            name = node.attr
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "hasattr", "setattr"):
            name = node.args[1].value if isinstance(node.args[1], ast.Constant) else ""
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("tensorflow.python", "keras.src")):
            yield f"{path.relative_to(ROOT)}:{node.lineno} {node.module}"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and hasattr(keras.Model, node.value):
            name = node.value  # A method that is patched by its name.
        if isinstance(name, str) and name.startswith("_") and not name.startswith("__") and name not in own:
            yield f"{path.relative_to(ROOT)} {name}"


def test_such_names_are_in_one_file() -> None:
    here = ROOT / "kerasxai" / "engine" / "keras_internals.py"
    sources = [path for folder in ("kerasxai", "callbacks", "training") for path in (ROOT / folder).rglob("*.py")]
    found = [use for path in sources if path != here for use in _private(path)]
    assert not found, "use or add a function in kerasxai/engine/keras_internals.py"
    assert len(list(_private(here))) > 10, "the test finds such names"


def test_gradients_are_taken_by_tapes() -> None:
    """Custom backward rules for ReLUs are the exception; see `ruled_gradients`."""
    sources = [path for folder in ("kerasxai", "callbacks", "training") for path in (ROOT / folder).rglob("*.py")]
    calls = [path.name for path in sources for node in ast.walk(ast.parse(path.read_text()))
             if isinstance(node, ast.Call) and ast.unparse(node.func) == "tf.gradients"]  # fmt: skip
    assert calls == ["rectifiers.py"]
