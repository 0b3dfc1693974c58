"""The connected components of a map at every threshold, all found in one pass.

A sweep over thresholds needs the components of `levels > k` and their boxes for up to a thousand k. Labeling each level
costs too much in NumPy, and a max-tree over pixels is slow to build. Here every pixel climbs to the local maximum that
is steepest uphill. At any level, what is left of such a basin is connected, because the path to its maximum never goes
down; so components are made of whole basins, and two basins join at the highest pass between them. A maximum spanning
tree over the passes (few, on smooth maps) then replaces all labelings.
"""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import minimum_spanning_tree

# Row by row, the pixel itself in the middle.
EIGHT = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
FOUR = [(-1, 0), (0, -1), (0, 0), (0, 1), (1, 0)]
# The basin it counts for, the number of levels at which it counts, and its weight.
Weight = tuple[NDArray[np.intp], NDArray[np.integer], int]
# Basins times levels in memory at once; more levels are taken in slices, because noise has as many basins as pixels.
MOST_CELLS = 1 << 22


@dataclass(frozen=True)
class Components:
    """Every component at every level, sorted by level.

    Attributes:
        level: `(M,)` the level k; the component is one of `levels > k`.
        boxes: `(M, 4)` x0, y0, x1, y1, with x1 and y1 exclusive.
        first: `(M,)` the component's first pixel, row by row, as an index into the flat map.
        size: `(M,)` number of pixels; for contours, twice the area of the polygon through the centers of the outer
            border's pixels, less what holes take from it.
        holes: `(M,)` for contours, the number of holes; otherwise zeros.
    """

    level: NDArray[np.intp]
    boxes: NDArray[np.int64]
    first: NDArray[np.int64]
    size: NDArray[np.int64]
    holes: NDArray[np.int64]


FIELDS = tuple(field.name for field in fields(Components))


def components_of(levels: NDArray[np.integer], heights: NDArray, count: int, contour: bool = False) -> Components:
    """List the 8-connected components of `levels > k` for every k.

    Args:
        levels: `(H, W)` integers in [0, count].
        heights: `(H, W)` finite; `levels` must rise with it (a quantized copy). It only settles which way is uphill;
            the finer it is, the fewer basins there are. `levels` is sufficient.
        count: Number of levels; k runs from 0 to count - 1.
        contour: Measure contours instead of counting pixels.

    Returns:
        The components; a level without any pixel has none.
    """
    basins, number = climb(heights, EIGHT)
    passes = passes_between(basins, levels, [(0, 1), (1, -1), (1, 0), (1, 1)])
    weights: list[list[Weight]] = contour_weights(basins, levels) if contour else [[(basins, levels, 1)]]
    return gather(basins, levels, number, passes, weights, count)


def holes_of(levels: NDArray[np.integer], heights: NDArray, count: int) -> Components:
    """List the holes of `levels > k` for every k: the 4-connected parts of the rest that do not reach the border.

    Args:
        levels: As in `components_of`.
        heights: As in `components_of`.
        count: As in `components_of`.

    Returns:
        The holes; `level` is k of the foreground, `size` their number of pixels.
    """
    depths = count - levels.astype(np.int64)
    basins, number = climb(-heights, FOUR)
    passes = passes_between(basins, depths, [(0, 1), (1, 0)])
    # The world beyond the border is one more basin, below everything.
    border = np.zeros(levels.shape, bool)
    border[[0, -1]] = border[:, [0, -1]] = True
    outlets = np.stack([basins[border], np.full(border.sum(), number), depths[border]])
    holes = gather(basins, depths, number, np.hstack([passes, outlets]), [[(basins, depths, 1)]], count, outside=True)
    back = slice(None, None, -1)  # Depth j is level count - 1 - j.
    turned = {name: getattr(holes, name)[back] for name in ("boxes", "first", "size", "holes")}
    return Components(level=count - 1 - holes.level[back], **turned)


def climb(heights: NDArray, neighborhood: list[tuple[int, int]]) -> tuple[NDArray[np.intp], int]:
    """Number each pixel by the maximum that steepest ascent leads to; of equal heights the later pixel is higher."""
    height, width = heights.shape
    padded = np.pad(heights, 1, constant_values=-np.inf if heights.dtype.kind == "f" else np.iinfo(heights.dtype).min)
    highest = np.full(heights.shape, padded[0, 0])
    step = np.zeros(heights.shape, np.intp)
    for dy, dx in neighborhood:
        neighbor = padded[1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]
        np.copyto(step, dy * width + dx, where=neighbor >= highest)
        np.maximum(highest, neighbor, out=highest)
    pixels = np.arange(heights.size)
    goal = pixels + step.ravel()
    maxima = np.flatnonzero(goal == pixels)
    while True:
        further = goal[goal]
        if np.array_equal(further, goal):
            break
        goal = further
    numbers = np.zeros(heights.size, np.intp)
    numbers[maxima] = np.arange(len(maxima))
    return numbers[goal].reshape(heights.shape), len(maxima)


def passes_between(
    basins: NDArray[np.intp], levels: NDArray[np.integer], offsets: list[tuple[int, int]]
) -> NDArray[np.int64]:
    """Return `(3, E)`: basin, basin, and the height of a pass between the two, at each place where they touch."""
    height, width = basins.shape
    found = []
    for dy, dx in offsets:
        here = np.s_[: height - dy, max(0, -dx) : width - max(0, dx)]
        there = np.s_[dy:, max(0, dx) : width + min(0, dx)]
        apart = np.nonzero(basins[here] != basins[there])
        ends = np.sort([basins[here][apart], basins[there][apart]], axis=0)
        found.append(np.vstack([ends, np.minimum(levels[here][apart], levels[there][apart])]))
    return np.hstack(found)


def contour_weights(basins: NDArray[np.intp], levels: NDArray[np.integer]) -> list[list[Weight]]:
    """Return the weights of twice the contour area, and those of four times the Euler number.

    A 2x2 block adds 1 to the one while three of its pixels are above the level and 2 while four are; to the other 1
    while one is, -1 while three are, -2 while two are that touch at a corner (Gray's bit quads, for 8-connectivity).
    """
    padded, owners = np.pad(levels, 1), np.pad(basins, 1)
    corners = [np.s_[:-1, :-1], np.s_[:-1, 1:], np.s_[1:, :-1], np.s_[1:, 1:]]
    a, b, c, d = (padded[corner] for corner in corners)
    lower, upper = (np.minimum(a, b), np.minimum(c, d)), (np.maximum(a, b), np.maximum(c, d))
    lowest, highest = np.minimum(*lower), np.maximum(*upper)
    second, third = np.sort([np.maximum(*lower), np.minimum(*upper)], axis=0)
    # The highest pixel of a block is above the level as long as the block counts at all, so its basin owns the block.
    top = np.where(a >= b, owners[corners[0]], owners[corners[1]])
    bottom = np.where(c >= d, owners[corners[2]], owners[corners[3]])
    owner = np.where(upper[0] >= upper[1], top, bottom)
    across = (np.minimum(a, d) > np.maximum(b, c)) | (np.minimum(b, c) > np.maximum(a, d))
    area = [(owner, lowest, 1), (owner, second, 1)]
    euler = [(owner, highest, 1), (owner, third, -1), (owner, second, -1), (owner, lowest, 1)]
    return [area, [*euler, (owner[across], third[across], -2), (owner[across], second[across], 2)]]


def spanning_passes(passes: NDArray[np.int64], nodes: int, count: int) -> list[tuple[int, int, int]]:
    """Return the passes of a maximum spanning forest, the highest first."""
    start, end, height = passes[:, passes[2] > 0]
    # A sparse matrix would add up parallel passes; keep the highest of each pair.
    order = np.argsort((start * nodes + end) * (count + 1) + height)
    start, end, height = start[order], end[order], height[order]
    keep = np.append((start[1:] != start[:-1]) | (end[1:] != end[:-1]), True)[: len(start)]
    graph = coo_array((count + 1.0 - height[keep], (start[keep], end[keep])), shape=(nodes, nodes))
    tree = minimum_spanning_tree(graph.tocsr()).tocoo()
    order = np.argsort(tree.data, kind="stable")
    heights = (count + 1 - tree.data[order]).astype(int)
    return list(zip(tree.row[order].tolist(), tree.col[order].tolist(), heights.tolist(), strict=True))


def gather(
    basins: NDArray[np.intp],
    levels: NDArray[np.integer],
    number: int,
    passes: NDArray[np.int64],
    weights: list[list[Weight]],
    count: int,
    outside: bool = False,
) -> Components:
    """Join the basins at their passes and list the components of each level; `outside` leaves out the last basin."""
    nodes = number + outside
    tree = spanning_passes(passes, nodes, count)
    slices = max(1, min(count, -(-nodes * count // MOST_CELLS)))
    bounds = np.linspace(0, count, slices + 1).astype(int)
    parts = []
    for low, high in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        extent = extents(basins, np.clip(levels, low, high) - low, nodes, high - low)
        sums = [
            totals([(who, np.clip(level, low, high) - low, what) for who, level, what in kind], nodes, high - low)
            for kind in weights
        ]
        joins = [(a, b, min(height, high) - low) for a, b, height in tree if height > low]
        join(extent, sums, joins, outside, nowhere=levels.size)
        parts.append(listed(extent[: nodes - outside], sums, levels.shape, low))
    return Components(*(np.concatenate([getattr(part, name) for part in parts]) for name in FIELDS))


def extents(basins: NDArray[np.intp], levels: NDArray[np.integer], nodes: int, count: int) -> NDArray[np.int32]:
    """Return `(nodes, 4, count)`: first pixel, x0, -x1, -y1 (x1, y1 inclusive) of every basin at every level."""
    height, width = basins.shape
    stride = count + 1  # A pixel of level v is above k < v, so above none if v = 0.
    cell = (basins * stride + levels).ravel()
    index = np.arange(height * width, dtype=np.int32)
    row, column = np.divmod(index, np.int32(width))
    extent = np.empty((nodes, 4, stride), np.int32)
    for channel, value in enumerate([index, column, -column, -row]):
        plane = np.full(nodes * stride, height * width, np.int32)
        np.minimum.at(plane, cell, value)
        extent[:, channel] = plane.reshape(nodes, stride)
    return np.minimum.accumulate(extent[..., :0:-1], axis=-1)[..., ::-1]


def totals(weights: list[Weight], nodes: int, count: int) -> NDArray[np.int64]:
    """Return `(nodes, count)`: the sum of a weight over the pixels of every basin above every level."""
    stride = count + 1
    # Count at the level where a weight ends, then sum from the highest level down.
    cells = np.zeros(nodes * stride, np.int64)
    for owner, level, factor in weights:
        cells += factor * np.bincount((owner * stride + level).ravel(), minlength=nodes * stride)
    return np.cumsum(cells.reshape(nodes, stride)[:, :0:-1], axis=-1)[:, ::-1]


def join(
    extent: NDArray[np.int32],
    sums: list[NDArray[np.int64]],
    joins: list[tuple[int, int, int]],
    outside: bool,
    nowhere: int,
) -> None:
    """Join basins in place, from the highest pass down: below a pass, both basins are one row."""
    last = len(extent) - 1
    roots = list(range(len(extent)))
    for a, b, height in joins:
        # Union-find with path halving.
        while roots[a] != a:
            roots[a] = a = roots[roots[a]]
        while roots[b] != b:
            roots[b] = b = roots[roots[b]]
        if outside and a == last:
            a, b = b, a
        roots[a] = b
        np.minimum(extent[b, :, :height], extent[a, :, :height], out=extent[b, :, :height])
        for total in sums:
            total[b, :height] += total[a, :height]
        extent[a, 0, :height] = nowhere


def listed(extent: NDArray[np.int32], sums: list[NDArray[np.int64]], shape: tuple[int, int], low: int) -> Components:
    """List the rows that have a pixel above the level, level by level."""
    level, basin = np.nonzero((extent[:, 0] < shape[0] * shape[1]).T)
    first, left, right, bottom = extent[basin, :, level].T.astype(np.int64)
    boxes = np.stack([left, first // shape[1], 1 - right, 1 - bottom], axis=-1)
    holes = 1 - sums[1][basin, level] // 4 if len(sums) > 1 else np.zeros_like(first)
    return Components(level + low, boxes, first, sums[0][basin, level], holes)
