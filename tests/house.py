"""The rooms of the house: what each is for, and which rooms it may import. CONTRIBUTING.md shows this table."""

from typing import NamedTuple


class Room(NamedTuple):
    name: str
    purpose: str
    imports: tuple[str, ...]


_ENGINE = ("tools", "engine")
_MAPS = (*_ENGINE, "methods", "localization")
_LIBRARY = (*_MAPS, "models", "data", "viz", "scores", "refinements", "explanation", "explainer", "metrics", "features")

# From the ground up: a room imports rooms above its row only.
ROOMS = (
    Room("version", "the version number", ()),
    Room("tools", "errors, files, options, terminal output; no TensorFlow", ()),
    Room("core", "deprecated import paths", ("tools",)),
    Room("engine", "traced models, forward passes, scores, map layouts; engine/fast: optimizations", ("tools",)),
    Room("models", "BACKBONES, HEADS, build_classifier", _ENGINE),
    Room("data", "DATASETS, any TFDS name, any folder, the embedded shapes", _ENGINE),
    Room("viz", "overlays, sheets, files, the HTML report", _ENGINE),
    Room("methods", "METHODS, one file a family", _ENGINE),
    Room("scores", "custom scores to explain", _ENGINE),
    Room("localization", "boxes and masks from heatmaps", _ENGINE),
    Room("refinements", "REFINEMENTS of heatmaps", _MAPS),
    Room("explanation", "Explanation: heatmaps, shown, saved and turned into boxes", (*_MAPS, "viz")),
    Room("explainer", "Explainer", (*_MAPS, "models", "viz", "refinements", "explanation")),
    Room(
        "metrics",
        "localization, pointing, faithfulness, stability, complexity, as the literature has them",
        (*_MAPS, "refinements", "explanation", "explainer"),
    ),
    Room(
        "features",
        "filters, units, patches, class images, neighbors, projections",
        (*_ENGINE, "data", "methods", "explainer"),
    ),
    Room(
        "segmentation",
        "seeds from class maps, pseudo-masks, a segmenter",
        (*_MAPS, "models", "data", "viz", "refinements", "explainer", "metrics"),
    ),
    Room(
        "explain_images",
        "explain and show_methods: from image files to pictures",
        (*_MAPS, "models", "data", "viz", "refinements", "explanation", "explainer"),
    ),
    Room(
        "evaluation",
        "one evaluation of a classifier: accuracy and localization, its tables",
        (*_LIBRARY, "segmentation", "version"),
    ),
    Room(
        "streaming",
        "large data sets in shards: Parquet tables, heatmaps in half precision",
        (*_LIBRARY, "evaluation", "version"),
    ),
    Room(
        "audit",
        "the audit of a classifier and its heatmaps; audit/shortcuts: what it should not look at",
        (*_LIBRARY, "evaluation", "version"),
    ),
    Room("callbacks", "Keras callbacks; the folder callbacks/", (*_LIBRARY, "segmentation")),
    Room(
        "training",
        "loop, phases, recipes, losses, benchmark; the folder training/",
        (*_LIBRARY, "callbacks", "segmentation", "evaluation", "version"),
    ),
    Room(
        "report",
        "the interactive report on runs: tables, charts, a gallery",
        (*_LIBRARY, "callbacks", "evaluation", "audit", "version"),
    ),
    Room(
        "cli",
        "one module for each command",
        (*_LIBRARY, "callbacks", "segmentation", "evaluation", "streaming", "audit", "training", "report", "version"),
    ),
    Room("__init__", "the public names", ("version",)),
    Room("__main__", "python -m kerasxai", ("cli",)),
)


def picture() -> str:
    """Returns the rooms as CONTRIBUTING.md shows them, the highest first."""
    shown = [room for room in reversed(ROOMS) if not room.name.startswith("__")]
    width = max(len(room.name) for room in shown) + 2
    return "\n".join(f"{room.name:{width}}{room.purpose}" for room in shown)
