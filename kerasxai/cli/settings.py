"""The settings that results depend on, by which a command recognizes results that it can continue."""

import argparse
import hashlib
from pathlib import Path

from kerasxai.cli.ledger import JSON
from kerasxai.tools.files import cannot
from kerasxai.tools.input_range import name_of_range, source_of_range
from kerasxai.version import __version__

_WITHOUT_EFFECT = frozenset({"images", "out", "batch_size"})
_BLOCK = 2**20


def settings_of(command: str, options: argparse.Namespace, **more: object) -> JSON:
    """Return everything but the images that the results of a command depend on, ready for JSON.

    Args:
        command: The command's name.
        options: Its parsed arguments, with `model`.
        **more: Values that replace parsed arguments.

    Raises:
        KerasxaiError: The model's file cannot be read.
    """
    given = vars(options)
    kept = {name: _plain(value) for name, value in sorted(given.items()) if name not in _WITHOUT_EFFECT}
    if "input_range" in kept:
        kept["input_range"] = name_of_range(options.input_range)
        source = source_of_range(name_of_range(options.input_range))
        more = {**more, **({"input_range_sha256": digest_of(source)} if source else {})}
    return {
        "kerasxai": __version__,
        "of": command,
        **kept,
        **{name: _plain(value) for name, value in more.items()},
        "model_sha256": digest_of(given["model"]),
    }


def digest_of(model: str) -> str | None:
    """Return the digest of a model's file, or of all files in a model's folder; None for a name."""
    path = Path(model)
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        if not file.is_file():
            return None
        try:
            with file.open("rb") as opened:
                while block := opened.read(_BLOCK):
                    digest.update(block)
        except OSError as error:
            raise cannot("read", file, error) from error
    return digest.hexdigest()


def _plain(value: object) -> object:
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
