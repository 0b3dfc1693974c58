"""Settings shared by several commands: the model, its images, the options of a method. No TensorFlow, no NumPy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerasxai.tools.arguments import method_option, whole_number
from kerasxai.tools.image_options import parse_size
from kerasxai.tools.input_range import RANGE_HELP
from kerasxai.tools.settings import Limits, setting

MODEL, DATA, METHOD, OUTPUT = "model", "data", "method", "output"
"""Headings of `--help`."""

FITS = ("stretch", "crop", "pad")
"""Ways to fit images to the input of a model; see `kerasxai.engine.images.fit`."""
FIT_HELP = (
    "how images of another aspect ratio are fitted to the model's input: crop, pad or stretch; boxes and masks follow "
    "(default: as the model was trained, or stretch)"
)
OUTPUTS = ("logits", "probabilities")
"""Declarations of the outputs of a model."""
OUTPUTS_HELP = (
    "what the model's outputs are, logits or probabilities, for a model whose final softmax or sigmoid cannot be found "
    "(default: found out)"
)


CLASS_SCORES = ("relative", "logit")
"""The scores of a class that have a name: the logit minus the mean over all classes, and the logit."""
SCORE_HELP = (
    "score of the class: its logit minus the mean over all classes, which is what a softmax sees, or its logit, as in "
    "the papers (default: relative for models that end in a softmax, else logit)"
)


RUN_MODEL = "model.keras"
"""The model in the folder of a run."""
_NAME_PREFIXES = ("imagenet:", "hub:", "kaggle://", "hf://")


def is_model_name(model: str) -> bool:
    """Return whether a model is given by a name, and not by the path of its file.

    Example:
        >>> is_model_name("imagenet:EfficientNetLite0"), is_model_name("runs/gap/model.keras")
        (True, False)
    """
    return model.startswith(_NAME_PREFIXES)


def model_path(model: str) -> str:
    """Return the model file of a folder that `kerasxai train` wrote, and anything else unchanged.

    Args:
        model: A path, or a name.

    Example:
        >>> model_path("imagenet:EfficientNetLite0")
        'imagenet:EfficientNetLite0'
    """
    file = Path(model) / RUN_MODEL
    return str(file) if file.is_file() else model


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """The model.

    Attributes:
        model: A `.keras` file, the folder of a run, or a name; see `kerasxai.models.load`.
        custom_objects: Python modules or files with custom layers.
    """

    model: str = setting(
        "a .keras file, the folder of a run, imagenet:NAME for an untouched backbone, hub:PRESET of KerasHub, hf:// or "
        "kaggle://",
        MODEL,
        positional=True,
        metavar="MODEL",
        parse=model_path,
    )
    custom_objects: Sequence[str] = setting(
        "a Python module or file.py with custom layers that the model file names; may be repeated. Its code runs",
        MODEL,
        (),
        metavar="MODULE",
        parse=str,
        collect=tuple,
    )


@dataclass(frozen=True, kw_only=True)
class ClassNameSettings:
    """The names of the classes of a model.

    Attributes:
        class_names: As for `kerasxai.cli.models_in.read_class_names`; None for the names in the model.
    """

    class_names: str | None = setting(
        "names of the model's classes in their order: with commas between them, a text file with one a line, or the "
        "folder of the training images (default: those saved with the model)",
        MODEL,
        None,
        metavar="NAME,...|FILE|FOLDER",
    )


@dataclass(frozen=True, kw_only=True)
class InputSettings:
    """The images that a model is given.

    Attributes:
        image_size: Side in pixels, or height and width, for models that accept any size; None for 224.
        fit: How images of another aspect ratio are fitted to the input; None: as the model was trained, or stretched.
        input_range: A name of `kerasxai.tools.input_range.RANGES`, or `"module:function"`; None for [0, 255].
    """

    image_size: int | tuple[int, int] | None = setting(
        "side in pixels, or height and width as 240x320, for models that take any (default: 224)",
        DATA,
        None,
        metavar="SIDE|HxW",
        parse=parse_size,
    )
    fit: str | None = setting(FIT_HELP, DATA, None, choices=FITS, metavar="{crop,pad,stretch}")
    input_range: str | None = setting(RANGE_HELP, DATA, None, metavar="RANGE")


@dataclass(frozen=True, kw_only=True)
class FileInputSettings(InputSettings):
    """Images that are read from files.

    Attributes:
        bits: How many bits of files with 16 bits a channel are used; None for 16.
    """

    bits: int | None = setting(
        "how many bits the values of image files with 16 bits use, such as 12 (default: 16)",
        DATA,
        None,
        metavar="N",
        parse=whole_number(8, 16),
    )


@dataclass(frozen=True, kw_only=True)
class MethodOptions:
    """Options of a method.

    Attributes:
        option: From names to values.
    """

    option: Mapping[str, Any] = setting(
        "an option of the method; may be repeated",
        METHOD,
        metavar="NAME=VALUE",
        parse=method_option,
        collect=dict,
    )


@dataclass(frozen=True)
class EndReport:
    """The report that a command writes when it is done.

    Attributes:
        report: Images of the gallery; 0: no report.
    """

    report: int = setting(
        "images in the gallery of report.html, which is written to --out at the end; 0: no report",
        OUTPUT,
        24,
        metavar="IMAGES",
        limits=Limits(0, 2000),
    )
