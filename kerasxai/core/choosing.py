"""Which call of which layer gives the explained map: the one that was named, or the one that feeds the head."""

import math
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from kerasxai.core.errors import KerasxaiError
from kerasxai.core.graph import ancestors, descendants, origin
from kerasxai.core.layers import channels_first, find_call, inside_attention, is_feature_map, last_map, no_map, places
from kerasxai.core.maps import MOST_EXTRA_TOKENS, Form, form_of, sides_of
from kerasxai.core.tracing import Call

_POOLINGS = ("GlobalAveragePooling1D", "GlobalMaxPooling1D", "Flatten")
_MAPS = {
    1: "a feature map (batch, steps, channels)",
    2: "a feature map (batch, height, width, channels)",
    3: "a feature map (batch, depth, height, width, channels)",
}


@dataclass(frozen=True)
class Place:
    """Where a method explains.

    Attributes:
        path: The layer's path; `"shared:1"` for the second call of one that is called several times.
        call: The call.
        form: How its output is read as a map.
    """

    path: str
    call: Call
    form: Form


def chosen_places(
    model: Any, calls: list[Call], score: Any, layers: list[tuple[str, Any]], images: Any, grid: tuple[int, ...] | None
) -> list[Place]:
    """Returns where methods explain, for each named layer or for the one that feeds the head.

    Args:
        model: The model.
        calls: The calls of one traced pass.
        score: The traced score.
        layers: Paths and layers that the user chose; none for the default.
        images: The explained input: of twins that share their layers, only the calls that look at it count.
        grid: The grid of tokens, where the user says it.

    Raises:
        KerasxaiError: A layer that cannot be explained, or a model without a map.
    """
    sides, looking = sides_of(images.shape), descendants(images)
    # What only gives its shape has no gradient.
    needed = ancestors(score, shapes=False)
    if layers:
        return [_named(model, path, calls, needed, looking, sides, grid) for path, _ in layers]
    call, form = _default(calls, needed & looking, sides, grid)
    own = [one for one in calls if one.layer is call.layer]
    return [Place(call.path if len(own) == 1 else f"{call.path}:{own.index(call)}", call, form)]


def _named(
    model: Any,
    path: str,
    calls: list[Call],
    needed: set[Any],
    looking: set[Any],
    sides: Any,
    grid: tuple[int, ...] | None,
) -> Place:
    _, layer, number = find_call(model, path)
    own = [call for call in calls if call.layer is layer]
    if not own:
        raise KerasxaiError(f"layer {path!r} is not called when the model runs; choose one that list_layers shows")
    if number is None and len(own) > 1:
        mine = [call for call in own if all(x.ref() in looking for x in tf.nest.flatten(call.output))]
        if len(mine) == 1:
            number = own.index(mine[0])
            path = f"{path}:{number}"
    if number is None and len(own) > 1:
        last = len(own) - 1
        raise KerasxaiError(
            f"layer {path!r} is called {len(own)} times in one pass; its map is not one map: choose '{path}:0' to "
            f"'{path}:{last}'"
        )
    if number is not None and number >= len(own):
        raise KerasxaiError(f"layer {path!r} is not called so often: {len(own)} times in one pass, counted from 0")
    call = own[number or 0]
    output = call.output
    first = channels_first(calls[: calls.index(call) + 1])
    readable = isinstance(output, tf.Tensor) and output.dtype.is_floating and output.shape.rank is not None
    before = calls[: calls.index(call)]
    form = form_among(before, output, first, sides, grid) if readable else None
    if form is None:
        raise _unreadable(path, output, sides, grid)
    if form.grid is None and not is_feature_map(output, first, output.shape.rank):
        raise KerasxaiError(
            f"layer {path!r} gives a map of {places(output, first)} place: its heatmap would be constant"
        )
    if output.ref() not in looking:
        raise KerasxaiError(f"layer {path!r} does not look at the explained input; image_input= says which that is")
    if output.ref() not in needed:
        raise KerasxaiError(f"layer {path!r} does not feed the explained score: it has no gradient")
    return Place(path, call, form)


def _unreadable(path: str, output: Any, sides: Any, grid: tuple[int, ...] | None) -> KerasxaiError:
    shapes = tf.nest.map_structure(lambda x: tuple(x.shape), output)
    if not isinstance(output, tf.Tensor) or output.shape.rank != 3 or len(sides) < 2:
        return KerasxaiError(f"layer {path!r} gives {shapes}, not {_MAPS.get(len(sides), 'a feature map')}")
    if grid is not None:
        return KerasxaiError(f"layer {path!r} gives {shapes}, whose tokens do not fill the token_grid {grid}")
    named = ", ".join(["rows", "columns"] if len(sides) == 2 else ["planes", "rows", "columns"])
    return KerasxaiError(
        f"layer {path!r} gives {shapes}, not {_MAPS[len(sides)]}; if these are tokens, say on which grid they lie: "
        f"token_grid=({named})"
    )


def form_among(calls: list[Call], output: Any, first: bool, sides: Any, grid: tuple[int, ...] | None) -> Form | None:
    """Returns how a layer's output is read as a map, tokens on the grid of the last map before them where that fits.

    Args:
        calls: The calls before it.
        output: What the layer gave, with a floating dtype.
        first: Whether its channels come first.
        sides: The sides of the explained input.
        grid: The grid of tokens, where the user says it.
    """
    if grid is None and output.shape.rank == 3 and len(sides) > 1:
        patches = _last_sides(calls, len(sides) + 2)
        form = form_of(output, False, sides, patches) if patches else None
        if form is not None and form.extra <= MOST_EXTRA_TOKENS:
            return form
    return form_of(output, first, sides, grid)


def _last_sides(calls: list[Call], rank: int) -> tuple[int, ...] | None:
    """Returns the sides of the last map among some calls, or None where there is none or they are open."""
    attention = inside_attention(calls)
    for i in range(len(calls) - 1, -1, -1):
        first = channels_first(calls[: i + 1])
        if is_feature_map(calls[i].output, first, rank) and not calls[i].path.startswith(attention):
            shape = calls[i].output.shape
            sides = tuple(shape[2:] if first else shape[1:-1])
            return None if None in sides else sides
    return None


def _default(calls: list[Call], needed: set[Any], sides: Any, grid: tuple[int, ...] | None) -> tuple[Call, Form]:
    """Returns the last map that feeds the score; of a model that works on tokens after it, the tokens as a map.

    Tokens are those of the image only where they lie on the grid of the map before them. Others are words, boxes or
    queries, and the map is explained after all, unless there is attention whose tokens have to be told apart.
    """
    chosen, tokens_after = last_map(calls, needed, len(sides) + 2)
    start = _start_of_last_attention(calls, needed)
    if len(sides) > 1 and (tokens_after or chosen is None):
        tokens = _last_tokens(calls, needed, sides, grid, start)
        if tokens is not None and not _mere_patches(calls, tokens[0], start):
            return tokens
        if start is not None:
            raise no_map(chosen, len(sides), calls)
    if chosen is None:
        raise no_map(chosen, len(sides), calls)
    return chosen, Form(channels_first(calls[: calls.index(chosen) + 1]))


def _last_tokens(
    calls: list[Call], needed: set[Any], sides: Any, grid: tuple[int, ...] | None, start: int | None
) -> tuple[Call, Form] | None:
    """Returns the last call that gives tokens on a grid all of which the score looks at, or None.

    Where the head pools all tokens, that is the last of all. Where it may read one token alone, as a class token, the
    gradient of all others is 0 behind the last attention: then it is the last call before that, `start`.
    """
    inside = inside_attention(calls)
    most = MOST_EXTRA_TOKENS if grid is None else math.inf
    grid = grid or _last_sides(calls, len(sides) + 2)
    found: list[tuple[int, Call, Form]] = []
    for i, call in enumerate(calls):
        output = call.output
        if not isinstance(output, tf.Tensor) or output.ref() not in needed or not call.path:
            continue
        if call.path.startswith(inside) or output.shape.rank != 3 or not output.dtype.is_floating:
            continue
        form = form_of(output, False, sides, grid)
        new = not found or origin(found[-1][1].output) is not origin(output)
        if form is not None and form.extra <= most and new:
            found.append((i, call, form))
    if not found:
        return None
    length = found[-1][1].output.shape[1]
    pooled = any(
        type(call.layer).__name__ in _POOLINGS and call.output.ref() in needed and _taken(call).shape[1] == length
        for call in calls[found[-1][0] :]
    )
    last = len(calls) if pooled else start or 0
    before = [(call, form) for i, call, form in found if i < last]
    return before[-1] if before else None


def _taken(pooling: Call) -> Any:
    """Returns what a pooling or flattening took."""
    return origin(pooling.output).op.inputs[0]


def _mere_patches(calls: list[Call], tokens: Call, start: int | None) -> bool:
    """Tells whether tokens are no more than embedded patches, on which attention does not work as they are."""
    first = calls.index(tokens)
    attention = [call.output for call in calls if "Attention" in type(call.layer).__name__]
    if start is None or any(x.ref() in ancestors(tokens.output) for x in tf.nest.flatten(attention)):
        return False
    maps = [call for call in calls[:first] if is_feature_map(call.output)]
    return len(maps) < 3 and all(x.shape[1] != tokens.output.shape[1] for x in tf.nest.flatten(attention))


def _start_of_last_attention(calls: list[Call], needed: set[Any]) -> int | None:
    """Returns the number of the first call inside the last attention, None where there is no attention."""
    start = None
    for i, call in enumerate(calls):
        if "Attention" not in type(call.layer).__name__:
            continue
        if any(isinstance(x, tf.Tensor) and x.ref() in needed for x in tf.nest.flatten(call.output)):
            start = i
            while start > 0 and calls[start - 1].path.startswith(f"{call.path}/"):
                start -= 1
    return start
