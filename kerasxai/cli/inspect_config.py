"""Settings of `kerasxai inspect`, and its arguments made of them. Nothing here imports TensorFlow."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kerasxai.tools.json_output import JsonOutput
from kerasxai.tools.model_settings import DATA, METHOD, OUTPUT, ClassNameSettings, FileInputSettings, ModelSettings
from kerasxai.tools.settings import Limits, SettingsCommand, setting

PARTS = ("filters", "activations", "patches", "dissection", "classes", "neighbors", "projection")
PARTS_WITHOUT_DATA = ("filters", "classes")
SHOWN = "shown"

_COUNT = Limits(least=1)


@dataclass(frozen=True, kw_only=True)
class InspectConfig(FileInputSettings, ClassNameSettings, ModelSettings):
    """Settings of `kerasxai inspect`, with those of the model and of its images.

    Attributes:
        layer: As for `kerasxai.features.embed`.
        target: Classes to make pictures of, with commas between them.
        batch_size: Images at once.
        data: As for `kerasxai.data.load`; None for no data.
        split: As for `kerasxai.data.load`.
        data_dir: As for `kerasxai.data.load`.
        count: Images at most.
        query: Image files to find neighbors of.
        index: A saved index to find neighbors in.
        show: Parts, with commas between them; None for all that the other settings allow.
        out: Folder of the results.
        channels: Channels of the layer, with commas between them; None chooses them.
        patches: Patches of each channel.
        quantile: Above this quantile of its activations a unit is active.
        parts: Names of the parts in part masks, with commas between them.
        steps: Steps of gradient ascent.
        seeds: Pictures of each class.
        projection: Onto the plane: pca, tsne or umap.
    """

    layer: str | None = setting("see `kerasxai layers` (default: the last feature map)", METHOD, None)
    target: str | None = setting("classes to make pictures of, by index or name", METHOD, None, metavar="CLASS[,CLASS]")
    batch_size: int = setting("images at once", METHOD, 32, limits=_COUNT)
    data: str | None = setting(
        "a data set of `kerasxai datasets`, or a folder of images", DATA, None, metavar="NAME|FOLDER"
    )
    split: str = setting("of the data", DATA, "test")
    data_dir: str | None = setting("where TFDS keeps its data", DATA, None)
    count: int = setting("images at the most, spread over a folder", DATA, 1000, limits=_COUNT)
    query: Sequence[str] = setting("image files to find neighbors of", DATA, (), metavar="IMAGE", nargs="+")
    index: Path | None = setting("a saved index.npz to find neighbors in, instead of --data", DATA, None)
    show: str | None = setting(
        f"of {', '.join(PARTS)} (default: all for which there are data, masks, a target)",
        OUTPUT,
        None,
        metavar="PART[,PART]",
    )
    out: Path = setting("folder", OUTPUT, Path("inspection"))
    channels: str | None = setting(
        "of the layer (default: the 8 with the strongest patches)", SHOWN, None, metavar="N[,N]"
    )
    patches: int = setting("patches a channel", SHOWN, 9, limits=_COUNT)
    quantile: float = setting("where a unit is active", SHOWN, 0.995, limits=Limits(least=0, below=1))
    parts: str | None = setting(
        "names of the parts that the data's part masks number", SHOWN, None, metavar="NAME[,NAME]"
    )
    steps: int = setting("of a class picture", SHOWN, 256, limits=_COUNT)
    seeds: int = setting("pictures of each class", SHOWN, 1, limits=_COUNT)
    projection: str = setting(
        "onto the plane", SHOWN, "tsne", choices=("pca", "tsne", "umap"), metavar="{pca,tsne,umap}"
    )


INSPECT = SettingsCommand(
    "Show what a model has learned: filters, units, patches, class pictures, neighbors.",
    [
        "kerasxai inspect imagenet:EfficientNetLite0 --show filters,classes --target zebra,daisy",
        "kerasxai inspect runs/gap/model.keras --layer backbone/top_activation --data shapes",
        "kerasxai inspect runs/gap/model.keras --data photos/ --show neighbors --query cat.jpg dog.jpg",
    ],
    (InspectConfig, JsonOutput),
)
