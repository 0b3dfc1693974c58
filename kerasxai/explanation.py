"""Explanation: heatmaps, what they explain, and how they are shown, saved and turned into boxes."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kerasxai import viz
from kerasxai.engine.outputs.kinds import Predictions, class_label
from kerasxai.localization import heatmap_to_boxes
from kerasxai.methods import METHODS
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.files import StrPath, atomic_path, null_for_nan, write_json
from kerasxai.tools.options import BOX_THRESHOLD
from kerasxai.tools.printable import unbroken
from kerasxai.viz.words import are_signed, color_key, with_probability, with_remark

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_SHOWN = 24
"""Images that a notebook shows of a large explanation."""
_PICTURE_SIDE = 224


@dataclass(frozen=True, repr=False)
class Explanation:
    """Heatmaps and what they explain.

    Notebooks show the heatmaps over the images. `explanation[0]`, `explanation[2:5]` and iteration give explanations
    of some of the images.

    Attributes:
        heatmaps: `(N, H, W)` float32, at image size unless `resize=False`; signed if the method is, never normalized.
        targets: `(N,)` int64, the explained class.
        scores: `(N,)` float32, the explained score; see `score` of `Explainer`.
        method: The method's name.
        layer: The path of the explained layer or the name of the operation, None if the method uses no layer.
        notes: Diagnostics of the method, by name.
        outputs: The scores and probabilities of all classes, as `Explainer.predict` returns them; None if a custom
            score is explained, or if nothing shows whether the outputs are logits or probabilities.
        images: The images as the explainer was given them, `(N, H, W, C)`; they are not copied. None for tokens.
        class_names: One name for each class, where the model has names.
        labels: `(N,)` true classes, where they are known; see `kerasxai.explain`.
        names: The name of each image, such as that of its file without the suffix.

    Example:
        >>> explanation = kerasxai.Explainer(model, "gradcam")(images)
        >>> explanation.plot()[0].figure.savefig("gradcam.png")
        >>> explanation[0].to_boxes(0.4)
        [array([[31, 20, 150, 201]])]
    """

    heatmaps: np.ndarray
    targets: np.ndarray
    scores: np.ndarray
    method: str
    layer: str | None = None
    notes: dict[str, Any] = field(default_factory=dict)
    outputs: Predictions | None = None
    images: np.ndarray | None = None
    class_names: tuple[str, ...] | None = None
    labels: NDArray[np.int64] | None = None
    names: tuple[str, ...] | None = None

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.heatmaps.shape))
        at = "" if self.layer is None else f" at {self.layer}"
        rows = ", ".join(self.caption(i) for i in range(min(len(self), 3)))
        return f"<Explanation: {self.method}{at}, {shape} heatmaps: {rows}{', ...' if len(self) > 3 else ''}>"

    def __len__(self) -> int:
        return len(self.heatmaps)

    def __getitem__(self, index: int | slice | Sequence[int] | NDArray[Any]) -> Explanation:
        """Return the explanation of some images; of one image for a number, still with an axis for images."""
        rows = np.atleast_1d(np.arange(len(self))[index])

        def taken(value: Any) -> Any:
            if isinstance(value, np.ndarray) and value.ndim and len(value) == len(self):
                return value[rows]
            if isinstance(value, list | tuple) and len(value) == len(self):
                return type(value)(value[row] for row in rows)
            return value

        outputs = self.outputs and Predictions(self.outputs.scores[rows], self.outputs.probabilities[rows])
        per_image = ("heatmaps", "targets", "scores", "images", "labels", "names")
        notes = {name: taken(value) for name, value in self.notes.items()}
        return replace(self, notes=notes, outputs=outputs, **{name: taken(getattr(self, name)) for name in per_image})

    def __iter__(self) -> Iterator[Explanation]:
        return (self[index] for index in range(len(self)))

    def caption(self, index: int) -> str:
        """Return the explained class of an image, its probability, and the true class where that is another.

        Of a map without evidence, which leaves the image without color, the caption says that it is empty.

        Args:
            index: Position of the image.

        Example:
            >>> explanation.caption(0)
            'tabby, 82 %, wrong: lynx'
        """
        target = self.targets[index]
        if np.ndim(target) or not isinstance(target, np.integer):
            return "custom targets"
        text = class_label(int(target), self.class_names)
        if self.outputs is not None:
            text = with_probability(text, self.outputs.probabilities[index, target])
        if self.labels is not None and self.outputs is not None:
            predicted, label = int(self.outputs.classes[index]), int(self.labels[index])
            right = predicted == label
            text += ", right" if right else f", wrong: {class_label(label, self.class_names)}"
        return with_remark(text, self.heatmaps[index])

    def pictures(self) -> list[NDArray[np.uint8]]:
        """Draw each heatmap over its image, or alone for methods of single pixels.

        Returns:
            `N` pictures `(H, W, 3)` uint8.

        Raises:
            KerasxaiError: There are no images, as for tokens.
        """
        if self.images is None:
            raise KerasxaiError("expected an explanation with images, got one of tokens; draw its heatmaps")
        row, signed = METHODS[self.method], self.is_signed
        return [
            viz.draw_heatmap(image, heatmap, row.pixelwise, row.relative, signed)
            for image, heatmap in zip(self.images, self.heatmaps, strict=True)
        ]

    @property
    def is_signed(self) -> bool:
        """Whether pictures show evidence against the class too, in blue."""
        return are_signed(self.heatmaps, METHODS[self.method].relative)

    @property
    def color_key(self) -> str:
        """What the colors of the pictures mean."""
        return color_key(self.is_signed)

    def plot(self, columns: int = 4, threshold: float | str | None = None) -> NDArray[np.object_]:
        """Plot the heatmaps over the images with matplotlib.

        Args:
            columns: Pictures in a row, at least 1.
            threshold: Draws the boxes of `to_boxes(threshold)` as well; None draws none.

        Returns:
            `(N,)` matplotlib axes; `[0].figure` is the figure.

        Raises:
            KerasxaiError: There are no images, or `columns` is below 1.

        Example:
            >>> explanation.plot(threshold=0.2)[0].figure.savefig("boxes.png")
        """
        if columns < 1:
            raise KerasxaiError(f"columns must be 1 or more, got {columns}")
        import matplotlib.pyplot as plt  # pyplot chooses the backend, which only plots should do.

        pictures = self.pictures()
        if threshold is not None:
            boxes = self.to_boxes(threshold)
            pictures = [
                viz.draw_boxes(one, its, viz.PREDICTED_COLOR, dashed=True)
                for one, its in zip(pictures, boxes, strict=True)
            ]
        width = min(columns, len(pictures))
        height = -(-len(pictures) // width)
        figure, grid = plt.subplots(
            height, width, figsize=(3 * width, 3.3 * height), squeeze=False, layout="constrained"
        )
        flat: NDArray[np.object_] = grid.ravel()
        for index, axes in enumerate(flat):
            _plot_one(axes, pictures[index] if index < len(pictures) else None)
            if index < len(pictures):
                axes.set_title(self._title(index), fontsize="medium")
        figure.supxlabel(self.color_key, fontsize="small")
        return flat[: len(pictures)]

    def to_boxes(self, threshold: float | str = BOX_THRESHOLD, largest: bool = True) -> list[NDArray[np.int64]]:
        """Put boxes around what is above a fraction of each heatmap's maximum.

        Args:
            threshold: Fraction of the maximum in [0, 1), or a rule; see `kerasxai.localization.heatmap_to_boxes`.
            largest: Only the box of the largest component; otherwise all, the largest first.

        Returns:
            `N` arrays `(K, 4)` int64 of pixels of the heatmap: x0, y0, x1, y1, the last two exclusive.

        Example:
            >>> explanation.to_boxes(0.4)[0].shape
            (1, 4)
        """
        return [heatmap_to_boxes(heatmap, threshold, largest) for heatmap in self.heatmaps]

    def save(self, folder: StrPath) -> list[Path]:
        """Write a picture and the raw heatmap of each image, and `<method>.json` with classes and scores.

        Args:
            folder: Made if it does not exist.

        Returns:
            The files.

        Raises:
            KerasxaiError: One of the files exists already; nothing is written then.

        Example:
            >>> explanation.save("maps")[0]
            PosixPath('maps/cat_gradcam.png')
        """
        folder = Path(folder)
        names = self.names or tuple(f"image_{index:04d}" for index in range(len(self)))
        files = [folder / f"{name}_{self.method}{suffix}" for name in names for suffix in (".png", ".npy")]
        files.append(folder / f"{self.method}.json")
        existing = [path for path in files if path.exists()]
        if existing or len(set(files)) < len(files):
            got = existing[0] if existing else "images of the same name"
            raise KerasxaiError(f"expected a folder without files of these names, got {got}; name another folder")
        pictures = self.pictures()
        folder.mkdir(parents=True, exist_ok=True)
        for index, (picture, heatmap) in enumerate(zip(pictures, self.heatmaps, strict=True)):
            viz.save_png(files[2 * index], picture)
            with atomic_path(files[2 * index + 1]) as path:
                np.save(path, heatmap)
        records = [
            {
                "name": names[index],
                "target": self.targets[index].tolist(),
                "caption": self.caption(index),
                "score": float(self.scores[index]),
            }
            for index in range(len(self))
        ]
        write_json(files[-1], null_for_nan({"method": self.method, "layer": self.layer, "images": records}))
        return files

    def _title(self, index: int) -> str:
        name = "" if self.names is None else f"{self.names[index]}: "
        return f"{name}{self.caption(index)}"

    def _repr_html_(self) -> str:
        """Show the heatmaps in a notebook: class, probability, layer, and right or wrong where that is known."""
        if self.images is None:
            return f"<pre>{html.escape(repr(self))}</pre>"
        shown = self[: min(len(self), _MOST_SHOWN)]
        figures = "".join(_figure(picture, shown._title(index)) for index, picture in enumerate(shown.pictures()))
        at = "" if self.layer is None else f" at {self.layer}"
        more = "" if len(self) == len(shown) else f"; the first {len(shown)} of {len(self)}"
        head = html.escape(f"{self.method}{at}{more}; {self.color_key}")
        return f'<p>{head}</p><div style="display:flex;flex-wrap:wrap;gap:8px">{figures}</div>'


def _figure(picture: NDArray[np.uint8], caption: str) -> str:
    data = base64.b64encode(viz.encode_png(picture)).decode()
    text = html.escape(unbroken(caption))
    return (
        f'<figure style="margin:0;width:{_PICTURE_SIDE}px">'
        f'<img style="width:100%" alt="{text}" src="data:image/png;base64,{data}">'
        f"<figcaption>{text}</figcaption></figure>"
    )


def _plot_one(axes: Axes, picture: NDArray[np.uint8] | None) -> None:
    axes.set_axis_off()
    if picture is not None:
        axes.imshow(picture)
