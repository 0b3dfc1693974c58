"""The pages of `kerasxai inspect`, each a function that adds one section and returns one line for the terminal."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerasxai.cli.inspection import Inspection
from kerasxai.engine.outputs.kinds import class_label
from kerasxai.features.embedding import embed
from kerasxai.features.fields import receptive_field
from kerasxai.features.kernels import filters
from kerasxai.features.neighbors import NeighborIndex, Neighbors
from kerasxai.features.projection import project
from kerasxai.features.stream import batches
from kerasxai.features.units import activation_quantiles, activations, dissect
from kerasxai.features.visualization import ascend, robust_probabilities
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.files import atomic_path, write_text
from kerasxai.tools.printable import percent
from kerasxai.viz import grid, plot_scatter, save_animation, scatter_page, write_projector
from kerasxai.viz.words import with_probability

_MOST_KERNELS = 64
_IMAGES = 6
_QUERIES = 6
_NEIGHBORS = 7
_FRAMES = 24
_IOU_OF_DETECTORS = 0.04


def filters_page(inspection: Inspection) -> str:
    """The kernels of the first convolution, or of the layer where it has some."""
    try:
        found = filters(inspection.model, inspection.config.layer, sort=True)
    except KerasxaiError:
        found = filters(inspection.model, sort=True)
    shown = min(_MOST_KERNELS, len(found.kernels))
    if found.kernels.shape[-1] in (1, 3):
        pictures = [_enlarged(tile) for tile in found.tiles()[:shown]]
        rows = [pictures[start : start + 16] for start in range(0, shown, 16)]
        picture = grid(rows, cell_size=56, gap=6)
    else:
        slices = found.slices(most=12)[: min(12, shown)]
        labels = [f"channel {channel}" for channel in found.channels[: len(slices)]]
        picture = grid([[_enlarged(one) for one in row] for row in slices], labels, cell_size=56, gap=6)
    inspection.save("filters.png", picture)
    inspection.report.add_section("Filters", f"Kernels of `{found.layer}`, the largest norm first; gray is zero.")
    inspection.report.add_picture(
        picture, f"{shown} of {len(found.kernels)} kernels of {_shape(found.kernels.shape[1:])}"
    )
    return f"{len(found.kernels)} kernels of {found.layer}"


def activations_page(inspection: Inspection) -> str:
    """The images that excite the chosen channels most, bright where the channel exceeds its quantile over the data."""
    found, quantile = inspection.patches, inspection.config.quantile
    channels = found.channels.tolist()
    thresholds = activation_quantiles(
        inspection.model,
        inspection.images,
        inspection.layer,
        quantile,
        channels=channels,
        batch_size=inspection.config.batch_size,
    )
    chosen = found.images[:, :_IMAGES]
    images = _images_at(inspection, set(chosen[chosen >= 0].tolist()))
    rows = []
    for k, numbers in enumerate(chosen):
        shown = np.stack([images[i] for i in numbers if i >= 0])
        maps = activations(inspection.model, shown, inspection.layer, [channels[k]])
        # By positions of the layer: between them, an interpolated map seldom reaches what a single one does.
        active = tf.image.resize((maps > thresholds[k]).astype(np.uint8), shown.shape[1:3], "nearest").numpy() > 0
        rows.append(list(np.where(active, shown, shown * 0.25)))
    picture = grid(rows, [f"channel {channel}" for channel in channels], cell_size=144)
    inspection.save("activations.png", picture)
    inspection.report.add_section(
        "Activations",
        f"The images that excite channels of `{inspection.layer}` most, bright where the channel exceeds its own "
        f"{percent(quantile, None)} quantile over the data.",
    )
    inspection.report.add_picture(picture, lossless=False)
    return f"{len(channels)} channels over {len(images)} images"


def patches_page(inspection: Inspection) -> str:
    """The patches that excite the chosen channels most."""
    found = inspection.patches
    captions = [["" if np.isnan(value) else f"{value:.2f}" for value in values] for values in found.values]
    labels = [f"channel {channel}" for channel in found.channels]
    picture = grid(found.crops, labels, captions=captions, cell_size=112)
    inspection.save("patches.png", picture)
    field = receptive_field(inspection.model, inspection.layer, inspection.size, gates=False)
    extent = "all of the image" if None in field.size else f"{field.size[0]} x {field.size[1]} pixels"
    inspection.report.add_section(
        "Patches",
        f"What excites each channel of `{inspection.layer}` most, one patch an image. A unit sees {extent}, every "
        f"{field.stride[0]} pixels; the patches are cut so, within the image.",
    )
    inspection.report.add_picture(picture, lossless=False)
    with inspection.report.details("Which images"):
        texts = [
            [channel, ", ".join(filter(None, names))]
            for channel, names in zip(found.channels, found.names, strict=True)
        ]
        inspection.report.add_table(texts, ["channel", "strongest first"])
    inspection.figures["receptive_field"] = {"size": field.size, "stride": field.stride, "start": field.start}
    each = f"{found.values.shape[1]} for each of {len(found.channels)} channels"
    return f"{each}; receptive field {extent}"


def dissection_page(inspection: Inspection) -> str:
    """The units that fit a class or a part best."""
    if not inspection.info.has_masks:
        raise KerasxaiError(
            f"expected data with masks for dissection, got {inspection.config.data}, which has none; omit dissection"
        )
    inspection.report.add_section(
        "Units and concepts",
        f"IoU of each unit of `{inspection.layer}`, cut at its {percent(inspection.config.quantile, None)} quantile, "
        "with the masks of the data, over all images. Network dissection calls a unit a detector above "
        f"{_IOU_OF_DETECTORS}.",
    )
    kinds = [
        ("mask", list(inspection.info.class_names)),
        *([("part_mask", _parts(inspection))] if inspection.info.has_parts else []),
    ]
    lines = []
    for masks, concepts in kinds:
        found = dissect(
            inspection.model,
            inspection.images,
            inspection.layer,
            concepts=concepts,
            masks=masks,
            quantile=inspection.config.quantile,
            batch_size=inspection.config.batch_size,
        )
        best = found.best(10)
        detectors = int((np.nan_to_num(found.ious).max(1) > _IOU_OF_DETECTORS).sum())
        what = "classes" if masks == "mask" else "parts"
        inspection.report.add_table(
            best, ["channel", "concept", "IoU"], f"{detectors} of {len(found.ious)} units", what
        )
        inspection.figures[f"best_units_of_{what}"] = best
        lines.append(f"channel {best[0][0]} is '{best[0][1]}' (IoU {best[0][2]:.2f})")
        with atomic_path(inspection.out / f"ious_{what}.npy") as temporary:
            np.save(temporary, found.ious)
    return "; ".join(lines)


def classes_page(inspection: Inspection) -> str:
    """Pictures that maximize the chosen classes."""
    config, seeds = inspection.config, list(range(inspection.config.seeds))
    found = ascend(
        inspection.model, inspection.targets, seeds, size=inspection.size, steps=config.steps, frames=_FRAMES
    )
    sure = robust_probabilities(inspection.model, found.images, found.targets).mean(1)
    names = [class_label(int(target), inspection.classes) for target in found.targets]
    files = []
    for i in range(len(names)):
        stem = f"class_{found.targets[i]}_seed{found.seeds[i]}"
        inspection.save(f"{stem}.png", found.images[i])
        files.append(save_animation(inspection.out / f"{stem}.webp", found.frames[:, i]))
    inspection.report.add_section(
        "Class pictures",
        "Gradient ascent on the image maximizes the class; below, the mean probability of the class under 16 fresh "
        "shifts, scalings and rotations. The pictures are animations of the ascent.",
    )
    captions = [with_probability(name, share, 1) for name, share in zip(names, sure, strict=True)]
    inspection.report.add_pictures(list(zip(files, captions, strict=True)), columns=4)
    inspection.figures["class_pictures"] = [
        {"class": name, "seed": int(seed), "probability": float(share)}
        for name, seed, share in zip(names, found.seeds, sure, strict=True)
    ]
    return "; ".join(captions)


def neighbors_page(inspection: Inspection) -> str:
    """Queries and their nearest images, and how often those are of the same class."""
    inspection.report.add_section(
        "Nearest neighbors", f"By the cosine of the output of `{inspection.layer}`, averaged over positions."
    )
    if inspection.config.index is not None:
        index, pictures = NeighborIndex.load(inspection.config.index), None
    else:
        index, pictures = NeighborIndex(inspection.embeddings), inspection.thumbnails
        index.save(inspection.out / "index.npz")
    line = f"{len(index)} images"
    if index.labels is not None and inspection.config.index is None:
        precision = index.precision_at([k for k in (1, 5, 10) if k < len(index)])
        inspection.report.add_figures([(f"precision at {k}", share) for k, share in precision.items()])
        inspection.figures["precision"] = precision
        line += ", " + ", ".join(f"precision at {k} {share:.2f}" for k, share in precision.items())
    if inspection.queries:
        given = np.stack([inspection.model_input.resized(image) for image in inspection.queries])
        vectors = embed(inspection.model, given, inspection.layer, batch_size=inspection.config.batch_size)
        found, shown, names = index.query(vectors, _NEIGHBORS), inspection.queries, list(inspection.config.query)
    else:
        rows = np.linspace(0, len(index) - 1, min(_QUERIES, len(index))).astype(int)
        found = index.neighbors_of(rows, _NEIGHBORS)
        shown, names = [inspection.thumbnails[i] for i in rows], [_label(inspection, index, i) for i in rows]
    inspection.figures["neighbors"] = [
        {"query": name, "neighbors": near, "distances": far}
        for name, near, far in zip(names, found.names, found.distances.tolist(), strict=True)
    ]
    if pictures is None:
        # An index contains names and vectors, but no images.
        rows_of = zip(names, found.names, strict=True)
        inspection.report.add_table([[name, ", ".join(near)] for name, near in rows_of], ["query", "nearest first"])
        return line
    picture = _neighbor_sheet(inspection, index, shown, names, found, pictures)
    inspection.save("neighbors.png", picture)
    inspection.report.add_picture(picture, lossless=False)
    return line


def projection_page(inspection: Inspection) -> str:
    """All images in the plane."""
    embeddings, method = inspection.embeddings, inspection.config.projection
    found = project(embeddings, method)
    names = list(inspection.info.class_names)
    note = f"{method}, trustworthiness {found.trustworthiness:.3f} at {found.neighbors} neighbors"
    picture = plot_scatter(found.points, embeddings.labels, names, inspection.thumbnails, note=note)
    inspection.save("projection.png", picture)
    page = scatter_page(
        found.points,
        inspection.thumbnails,
        embeddings.names,
        embeddings.labels,
        names,
        f"{inspection.layer} of {inspection.config.data}",
        note,
    )
    write_text(inspection.out / "projection.html", page)
    labels = None if embeddings.labels is None else [class_label(int(i), names) for i in embeddings.labels]
    write_projector(inspection.out / "projector", embeddings.vectors, embeddings.names, labels, inspection.thumbnails)
    inspection.report.add_section(
        "Projection",
        f"The embedding in the plane by {method}. Trustworthiness measures whether neighbors in the plane were "
        "neighbors before: 1 if all were, about 0.5 by chance. Distances between clusters mean little. "
        "`projection.html` next to this page shows the image under the pointer; `tensorboard --logdir projector` shows "
        "all dimensions.",
    )
    figures = [("trustworthiness", found.trustworthiness, f"{found.neighbors} neighbors, {found.measured} images")]
    inspection.report.add_figures(figures)
    inspection.report.add_picture(picture, note, lossless=False)
    inspection.figures["projection"] = {"method": method, "trustworthiness": found.trustworthiness}
    return note


PAGES: dict[str, Callable[[Inspection], str]] = {
    "filters": filters_page,
    "activations": activations_page,
    "patches": patches_page,
    "dissection": dissection_page,
    "classes": classes_page,
    "neighbors": neighbors_page,
    "projection": projection_page,
}


def _neighbor_sheet(
    inspection: Inspection,
    index: NeighborIndex,
    shown: Sequence[NDArray[np.uint8]],
    names: list[str],
    found: Neighbors,
    pictures: np.ndarray,
) -> np.ndarray:
    rows = [[one, *(pictures[i] for i in near)] for one, near in zip(shown, found.indices, strict=True)]
    captions = [
        [name, *(f"{_label(inspection, index, i)} {far:.2f}" for i, far in zip(near, distances, strict=True))]
        for name, near, distances in zip(names, found.indices, found.distances, strict=True)
    ]
    columns = ["query", *(str(number + 1) for number in range(found.indices.shape[1]))]
    return grid(rows, column_labels=columns, captions=captions, cell_size=112)


def _label(inspection: Inspection, index: NeighborIndex, row: int) -> str:
    if index.labels is None:
        return index.names[row]
    return class_label(int(index.labels[row]), list(inspection.info.class_names))


def _parts(inspection: Inspection) -> list[str]:
    if inspection.config.parts:
        return [name.strip() for name in inspection.config.parts.split(",")]
    highest = 0
    for batch in batches(inspection.images, inspection.config.batch_size):
        masks = np.concatenate([np.ravel(mask) for mask in batch["part_mask"]])
        highest = max(highest, int(masks[masks != 255].max(initial=0)))
    return [f"part {number + 1}" for number in range(highest)]


def _images_at(inspection: Inspection, numbers: set[int]) -> dict[int, np.ndarray]:
    """Return the images at some positions of the data, from one more pass over it."""
    found, done = {}, 0
    for batch in batches(inspection.images, inspection.config.batch_size):
        found.update({done + i: one for i, one in enumerate(batch["image"]) if done + i in numbers})
        done += len(batch["image"])
    return found


def _enlarged(tile: np.ndarray) -> np.ndarray:
    """Enlarge a small tile, one block for each weight: interpolation would show weights that do not exist."""
    times = max(1, 56 // max(tile.shape[:2]))
    return tile.repeat(times, 0).repeat(times, 1)


def _shape(sizes: Sequence[int]) -> str:
    return " x ".join(map(str, sizes))
