"""One call of a live model in the graph that is being traced, with every layer's call recorded."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from kerasxai.engine.fast import folded
from kerasxai.engine.images.integer_images import model_input
from kerasxai.engine.layers import walk
from kerasxai.engine.map_layout import MapLayout
from kerasxai.engine.overrides import fed_at_operation, feeding
from kerasxai.engine.rectifiers import marked
from kerasxai.engine.tensor_names import TensorNames, is_operation
from kerasxai.engine.tracing import Call, one_pass_at_a_time, patched, recorded
from kerasxai.tools.errors import KerasxaiError

if TYPE_CHECKING:
    from kerasxai.engine.forward_pass import Fed
    from kerasxai.engine.samples import Sample
    from kerasxai.engine.traced_model import TracedModel


@one_pass_at_a_time
def call_model(
    view: TracedModel, images: tf.Tensor, sample: Sample, fed: Fed, behind_cast: bool, tape: tf.GradientTape
) -> tuple[Any, list[Call]]:
    """Calls a model in the current graph.

    Every layer is changed for the time of the call only: its calls are recorded, batch normalizations folded, a map put
    in place of its output.

    Args:
        view: The model.
        images: `(B, H, W, C)` float32.
        sample: The other inputs and targets of these images.
        fed: See `TracedModel`.
        behind_cast: See `integer_images`.
        tape: Records the call; layers whose inputs have no gradient are watched as well.

    Returns:
        The outputs, and the calls of all layers in the order in which they finished.
    """
    calls: list[Call] = []
    given: list[bool] = []
    graph = tf.compat.v1.get_default_graph()

    def record(call: Call) -> None:
        flat = tf.nest.flatten(call.output)
        # Tensors made inside a loop belong to the loop's own graph and cannot be used in this one.
        if all(isinstance(x, tf.Tensor) and x.graph is graph for x in flat):
            calls.append(call)
            # Integers, such as tokens or uint8 pixels, have no gradient; the layers behind them do.
            tape.watch([x for x in flat if x.dtype.is_floating])

    with contextlib.ExitStack() as stack:
        layers = list(walk(view.model))
        if view.altered is not None:
            stack.enter_context(view.altered[1]())
        if view.fold:
            stack.enter_context(folded(layers, lambda: _outputs_of([layer for _, layer in view.layers], calls)))
        if fed is not None and not is_operation(fed[0]):
            stack.enter_context(feeding(view.model, *fed, view.forms.get(fed[0], MapLayout()), given))
        stack.enter_context(recorded(layers, record))
        stack.enter_context(marked())
        for _, layer in layers:
            if hasattr(layer, "explained_class"):
                stack.enter_context(patched(layer, explained_class=sample.classes))
        taken = MapLayout(channels_first=True).to_model(images) if view.channels_first else images
        taken = stack.enter_context(model_input(taken, view.known, layers, behind_cast))
        outputs = view.model(view.model_inputs(taken, sample.others), training=False)
    if fed is not None and is_operation(fed[0]):
        # An operation has no call to intercept: all operations behind it are copied.
        tensor = TensorNames(calls, graph).operation(fed[0])
        outputs = fed_at_operation(outputs, tensor, fed[1], view.forms.get(fed[0], MapLayout()))
    elif fed is not None and given != [True]:
        raise KerasxaiError(f"layer {fed[0]!r} is called {len(given)} times in one pass; it cannot be fed one map")
    return outputs, calls


def _outputs_of(layers: list[Any], calls: list[Call]) -> list[tf.Tensor]:
    """Returns the outputs of some layers so far."""
    return [x for call in calls if call.layer in layers for x in tf.nest.flatten(call.output) if tf.is_tensor(x)]
