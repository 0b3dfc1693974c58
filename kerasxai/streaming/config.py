"""Settings of commands that compute a data set in shards. Nothing here imports TensorFlow."""

from dataclasses import dataclass

from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.settings import Limits, setting

SHARDS = "shards"
"""The heading of the flags in `--help`."""
MOST_SHARDS = 100_000
_IMAGES = 1000
"""Images of a shard by default."""
MAP_SIZES = ("layer", "image", "none")
ENGINES = ("local", "ray")


@dataclass(frozen=True, kw_only=True)
class ShardSettings:
    """The shards of a data set.

    Attributes:
        shards: The number of shards; None for the default of the command.
        shard: The only shard to compute, from 0; None for all that are left.
        engine: `"local"` for this process, `"ray"` for workers of Ray.
        workers_per_node: With Ray, the workers of each machine; None for one for each GPU, or one without GPUs.
    """

    shards: int | None = setting(
        "compute the data in so many shards; a killed call goes on with the shards that are left, and calls on several "
        "machines that share --out take different ones",
        SHARDS,
        None,
        limits=Limits(least=1, most=MOST_SHARDS),
        metavar="N",
    )
    shard: int | None = setting(
        "compute only this shard, from 0 to N - 1, for machines that do not share --out",
        SHARDS,
        None,
        limits=Limits(least=0, most=MOST_SHARDS - 1),
        metavar="I",
    )
    engine: str = setting(
        "where shards are computed: local, in this process, or ray, in workers of Ray, on this machine or the cluster "
        "of RAY_ADDRESS",
        SHARDS,
        ENGINES[0],
        choices=ENGINES,
        metavar="{local,ray}",
    )
    workers_per_node: int | None = setting(
        "with --engine ray: workers of each machine, each with a model (default: one for each GPU, or one)",
        SHARDS,
        None,
        limits=Limits(least=1, most=1024),
        metavar="N",
    )


@dataclass(frozen=True, kw_only=True)
class StreamedDataSettings(ShardSettings):
    """A data set whose images are processed in shards.

    Attributes:
        data: A folder of images, or a name of TensorFlow Datasets; None for image files.
        split: The split of a named data set.
        data_dir: As for `kerasxai.data.load`.
    """

    data: str | None = setting(
        "a folder of images, or the name of a data set, in place of IMAGE: written as Parquet, of explain also as "
        f"arrays, in shards (default: of {_IMAGES} images)",
        SHARDS,
        None,
        metavar="FOLDER|NAME",
    )
    split: str = setting("split of a named data set", SHARDS, "test")
    data_dir: str | None = setting("where TensorFlow Datasets keeps its files", SHARDS, None)


@dataclass(frozen=True, kw_only=True)
class StreamSettings(StreamedDataSettings):
    """A data set whose images are explained in shards.

    Attributes:
        heatmaps: The size of the written heatmaps: `"layer"` for that of the method, `"image"` for that of the model's
            input, `"none"` to write no heatmaps; None for `"layer"`, or `"image"` with a refinement.
    """

    heatmaps: str | None = setting(
        "size of the written heatmaps: layer, as the method makes them, image, or none for no heatmaps (default: "
        "layer, or image with --refine)",
        SHARDS,
        None,
        choices=MAP_SIZES,
        metavar="{layer,image,none}",
    )


def shard_count(shards: int | None, images: int) -> int:
    """Return the number of shards, by default one for each 1,000 images.

    Args:
        shards: The given number.
        images: The number of images.

    Raises:
        KerasxaiError: There are more shards than images.

    Example:
        >>> shard_count(None, 2500), shard_count(4, 2500)
        (3, 4)
    """
    count = min(-(-images // _IMAGES), MOST_SHARDS) if shards is None else shards
    if count > images:
        raise KerasxaiError(f"shards must be at most the number of images, {images}, got {count}")
    return count
