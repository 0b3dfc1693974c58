"""One call of a live model in the graph that is being traced, with every layer's call recorded."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import keras
import tensorflow as tf

from kerasxai.engine.fast import folded
from kerasxai.engine.images.integer_images import model_input
from kerasxai.engine.layers import walk
from kerasxai.engine.map_layout import MapLayout
from kerasxai.engine.overrides import override_layer, override_operation
from kerasxai.engine.rectifiers import marked
from kerasxai.engine.tensor_names import TensorNames, is_operation
from kerasxai.engine.tracing import Call, one_pass_at_a_time, patched, recorded
from kerasxai.tools.errors import KerasxaiError

if TYPE_CHECKING:
    from kerasxai.engine.forward_pass import Override
    from kerasxai.engine.inputs import Inputs
    from kerasxai.engine.samples import Samples
    from kerasxai.engine.traced_model import TracedModel


@one_pass_at_a_time
def call_model(
    model: TracedModel, batch: Samples, override: Override, as_floats: bool, tape: tf.GradientTape
) -> tuple[Inputs, list[Call]]:
    """Calls a model in the current graph.

    Layers are changed during the call only: calls are recorded, batch normalizations folded, an output overridden.

    Args:
        model: The model.
        batch: The batch, of symbolic tensors.
        override: See `TracedModel`.
        as_floats: See `integer_images`.
        tape: Records the call; layers whose inputs have no gradient are watched as well.

    Returns:
        The outputs, and the calls of all layers in the order in which they finished.
    """
    calls: list[Call] = []
    overridden: list[bool] = []
    graph = tf.compat.v1.get_default_graph()

    def record(call: Call) -> None:
        flat = tf.nest.flatten(call.output)
        # Tensors made inside a loop belong to the loop's own graph and cannot be used in this one.
        if all(isinstance(x, tf.Tensor) and x.graph is graph for x in flat):
            calls.append(call)
            # Integers, such as tokens or uint8 pixels, have no gradient; the layers behind them do.
            tape.watch([x for x in flat if x.dtype.is_floating])

    with contextlib.ExitStack() as stack:
        layers = list(walk(model.model))
        for alteration in model.alterations:
            stack.enter_context(alteration.change())
        if model.accelerated:
            stack.enter_context(folded(layers, lambda: _outputs_of([layer for _, layer in model.layers], calls)))
        if override is not None and not is_operation(override[0]):
            layout = model.report.layouts.get(override[0], MapLayout())
            stack.enter_context(override_layer(model.model, *override, layout, overridden))
        stack.enter_context(recorded(layers, record))
        stack.enter_context(marked())
        for _, layer in layers:
            if hasattr(layer, "explained_class"):
                stack.enter_context(patched(layer, explained_class=batch.targets))
            if hasattr(layer, "relative_maps"):
                stack.enter_context(patched(layer, relative_maps=model.class_score != "logit"))
        images = MapLayout(channels_first=True).to_model(batch.images) if model.channels_first else batch.images
        images = stack.enter_context(model_input(images, model.input_spec, layers, as_floats))
        outputs = model.model(model.join(images, batch.other_inputs), training=False)
    if override is not None and is_operation(override[0]):
        # An operation has no call to intercept: all operations behind it are copied.
        tensor = TensorNames(calls, graph).operation(override[0])
        outputs = override_operation(outputs, tensor, override[1], model.report.layouts.get(override[0], MapLayout()))
    elif override is not None and overridden != [True]:
        raise KerasxaiError(
            f"expected layer {override[0]!r} to be called once in a pass, got {len(overridden)} calls; name one of "
            f'them, layer="{override[0]}:0"'
        )
    return outputs, calls


def _outputs_of(layers: list[keras.Layer], calls: list[Call]) -> list[tf.Tensor]:
    """Returns the outputs of some layers so far."""
    return [x for call in calls if call.layer in layers for x in tf.nest.flatten(call.output) if tf.is_tensor(x)]
