"""The work of `kerasxai export`: export a model, and print what was written and how it was checked."""

import argparse
from pathlib import Path

from kerasxai import models
from kerasxai.cli.export_config import ExportConfig
from kerasxai.models.export_formats import FORMATS, format_of
from kerasxai.tools.model_settings import is_model_name
from kerasxai.tools.printable import printable
from kerasxai.tools.settings import from_options


def run(options: argparse.Namespace) -> None:
    """Export, and print the outputs and the largest difference to the model."""
    config = from_options(ExportConfig, options)
    out = _default_path(config) if config.out is None else config.out
    format_of(config.format, out.suffix)  # Refuses a mistake before the model is loaded.
    model = models.load_classifier(config.model, config.custom_objects, classes=False)
    found = models.export(model, out, config.format, maps=not config.no_maps)
    outputs = ", ".join(f"{name} ({', '.join(map(str, ('N', *shape)))})" for name, shape in found.outputs.items())
    print(f"exported: {printable(str(found.path))} ({found.format}, {_megabytes(found.path):.1f} MB)")
    print(f"outputs: {outputs}")
    print(
        f"checked against the model on {found.images} images: largest difference {found.difference:.1e} of the largest "
        f"output or 1, tolerance {found.tolerance:g}"
    )
    print(f"class names and input: {printable(str(found.path))}.json")


def _default_path(config: ExportConfig) -> Path:
    """Return a path next to the model file, or in the working directory for a model without a file."""
    suffix = FORMATS[config.format or "savedmodel"].suffix or "_savedmodel"
    model = Path(Path(config.model.rpartition(":")[2]).name if is_model_name(config.model) else config.model)
    return model.with_name(f"{model.stem}{suffix}")


def _megabytes(path: Path) -> float:
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files) / 1e6
