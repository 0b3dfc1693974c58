"""The settings that results depend on, by which a command recognizes results that it can continue."""

import argparse

from kerasxai.cli.models_in import read_class_names
from kerasxai.cli.record_tables import JSON
from kerasxai.refinements import has_auto
from kerasxai.tools.digests import digest_of
from kerasxai.tools.input_range import name_of_range, source_of_range
from kerasxai.version import __version__

_WITHOUT_EFFECT = frozenset({"images", "out", "batch_size", "json"})


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
    if has_auto(kept.get("refine")):
        # Not the choice itself, which is made once the model is loaded. Tables without it are of other settings.
        more = {**more, "refinement_of": "the first call"}
    if kept.get("class_names") is not None:
        # The names, because a file or a folder may change.
        kept["class_names"] = read_class_names(options.class_names)
    else:
        # Left out, so that results of versions without it keep their settings.
        kept.pop("class_names", None)
    return {
        "kerasxai": __version__,
        "of": command,
        **kept,
        **{name: _plain(value) for name, value in more.items()},
        "model_sha256": digest_of(given["model"]),
    }


def _plain(value: object) -> object:
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
