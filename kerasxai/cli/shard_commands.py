"""Steps that the commands share that compute a data set in shards."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from kerasxai.cli.explain_config import ExplainConfig
from kerasxai.cli.localize_config import LocalizeConfig
from kerasxai.cli.record_tables import JSON
from kerasxai.streaming.config import ShardSettings, StreamedDataSettings, shard_count
from kerasxai.streaming.images import StreamedImages, check_identity, open_images
from kerasxai.streaming.ray_workers import MakeWork, compute_with_ray, import_ray
from kerasxai.streaming.shards import Shard, ShardFolder
from kerasxai.streaming.tables import import_pyarrow
from kerasxai.tools.commands import print_line
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.files import read_json
from kerasxai.tools.settings import described

_WITHOUT_EFFECT = frozenset(described(ShardSettings))
"""Settings that do not change the results of a shard; the number of shards is compared on its own."""


def check_stream(config: StreamedDataSettings, images: Sequence[str], kind: type[StreamedDataSettings]) -> None:
    """Check that there are either image files or a data set, before images are read.

    Args:
        config: The settings of the command.
        images: Image files, or folders of them.
        kind: The settings that have an effect with a data set alone.

    Raises:
        KerasxaiError: There are both, or such settings without a data set, or pyarrow is not installed.
    """
    if config.data is None:
        for name, (item, _) in sorted(described(kind).items()):
            if name != "split" and getattr(config, name) != item.default:
                raise KerasxaiError(f"expected --data with --{name.replace('_', '-')}, got image files; write --data")
        return
    if images:
        raise KerasxaiError(f"expected image files or --data, got both, {images[0]} and {config.data}; omit one")
    check_engine(config)


def check_engine(config: ShardSettings) -> None:
    """Check that the packages are installed that the computation of shards needs.

    Args:
        config: The settings of shards.

    Raises:
        KerasxaiError: One is not installed, or there are workers without Ray.
    """
    import_pyarrow()
    if config.engine == "ray":
        import_ray()
    elif config.workers_per_node is not None:
        raise KerasxaiError(
            f"expected --engine ray with --workers-per-node, got --engine {config.engine}; add --engine ray"
        )


def without_stream(options: argparse.Namespace, kind: type[StreamedDataSettings]) -> argparse.Namespace:
    """Return the arguments without those of shards, which have no effect on single images."""
    left_out = described(kind)
    return argparse.Namespace(**{name: value for name, value in vars(options).items() if name not in left_out})


def images_of(config: ExplainConfig | LocalizeConfig, identity: str | None = None) -> StreamedImages:
    """Open the data set of a command.

    Args:
        config: The settings of the command, with `data`.
        identity: In a worker, that of the images in the process that started it; None in that process.

    Raises:
        KerasxaiError: There is no such data set, or a worker has found other images.
    """
    assert config.data is not None
    images = open_images(config.data, config.split, config.out, config.data_dir, config.bits)
    if identity is not None:
        check_identity(images.identity, identity)
    return images


def open_shards(out: Path, settings: Mapping[str, object], images: StreamedImages, shards: int | None) -> ShardFolder:
    """Return the folder of the shards of a data set.

    Args:
        out: The folder.
        settings: Of the command; those that results do not depend on are left out.
        images: All images.
        shards: The given number of shards.

    Raises:
        KerasxaiError: The folder has shards of other settings, or there are more shards than images.
    """
    kept: JSON = {name: value for name, value in settings.items() if name not in _WITHOUT_EFFECT}
    count = shard_count(shards, images.count)
    return ShardFolder(out, {**kept, "images_sha256": images.identity}, images.count, count)


def compute_left(folder: ShardFolder, config: ShardSettings, work: MakeWork) -> bool:
    """Compute the shards that are left, and return whether all are done.

    Args:
        folder: The shards.
        config: The settings of shards.
        work: Loads the model, and returns a function that writes the files of a shard into its folder; called in each
            worker, for which it is pickled.
    """
    numbers = folder.left(config.shard)
    if numbers and config.engine == "ray":
        compute_with_ray(folder, numbers, work, config.workers_per_node)
    elif numbers:
        folder.compute(numbers, work())
    left = len(folder.left())
    if left:
        print(f"{folder.shards - left} of {folder.shards} shards are done; the same command without --shard goes on")
    return not left


def sum_of(shards: Sequence[Shard], entry: str) -> int:
    """Return the sum of an entry of the `shard.json` of each shard."""
    return sum(read_json(shard.folder / "shard.json")[entry] for shard in shards)


def report_skipped_rows(skipped: int, count: int, table: str) -> int:
    """Say how many images were skipped, and return the command's exit status.

    Args:
        skipped: How many.
        count: Of all images.
        table: The table that says why.
    """
    if skipped:
        print_line(f"{skipped} of {count} images were skipped; the column error of {table} says why")
    return 1 if skipped else 0
