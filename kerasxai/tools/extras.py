"""Packages of extras, imported where they are needed."""

import importlib
from types import ModuleType

from kerasxai.tools.errors import KerasxaiError


def import_extra(module: str, extra: str, task: str) -> ModuleType:
    """Import a module that an extra of the package brings.

    Args:
        module: The module.
        extra: The extra, a name in `pip install 'kerasxai[NAME]'`.
        task: What it is needed for: "write Parquet".

    Raises:
        KerasxaiError: It is not installed.

    Example:
        >>> import_extra("pyarrow.parquet", "parquet", "write Parquet").ParquetWriter
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise KerasxaiError(f"cannot {task}: {error}; run pip install 'kerasxai[{extra}]'") from error
