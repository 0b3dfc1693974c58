"""Errors of Keras and TensorFlow, shortened to one line."""

import re
import textwrap
import traceback
from pathlib import Path

_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
_INNER = re.compile(r".*(?:Exception encountered|Error encountered during deserialization): ", re.DOTALL)
_CALLING = re.compile(r"^(?:Exception encountered when calling|Error when deserializing) [^\n]*\n", re.DOTALL)
_RECEIVED = re.compile(r"\s*Arguments received by .*", re.DOTALL)
_CONFIG = re.compile(r"\s*Full object config: .*", re.DOTALL)
_NODE = re.compile(r"\s*\[\[\{\{node .*|\s*\[Op:[^\]]*\].*", re.DOTALL)
_LONGEST = 500


def reason(error: BaseException) -> str:
    """Return the message of an error as one line, without the configurations and graphs that Keras adds.

    Args:
        error: Any exception.

    Example:
        >>> reason(ValueError("Input 0 of layer 'dense' is\\nincompatible"))
        "Input 0 of layer 'dense' is incompatible"
    """
    if isinstance(error, KeyError):
        return f"KeyError: {error}"
    text = _ESCAPES.sub("", str(error))
    text = _INNER.sub("", text)
    text = _CONFIG.sub("", _RECEIVED.sub("", _CALLING.sub("", text)))
    if "Graph execution error" in text:
        # The reason follows the stack of the graph, which has one line for each call.
        text = next((part for part in reversed(text.split("\n")) if _NODE.sub("", part).strip()), text)
    text = _NODE.sub("", text)
    return textwrap.shorten(text, _LONGEST, placeholder=" ...") or type(error).__name__


def raised_in_kerasxai(error: BaseException) -> str | None:
    """Return the file and line of this package where an error was raised, or None if it was raised elsewhere.

    Errors from Keras, TensorFlow or custom layers concern the model; errors from the package itself are bugs.
    """
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<")]
    if not frames:
        return None
    root = Path(__file__).parents[2]
    last = Path(frames[-1].filename)
    own = any(root / name in last.parents for name in ("kerasxai", "callbacks", "training"))
    return f"{last.relative_to(root).as_posix()}:{frames[-1].lineno}" if own else None
