"""The language of the code: two forms of messages, and none of the words that the second design replaced."""

import ast
import io
import re
import tokenize
from collections.abc import Container, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("kerasxai/*", "kerasxai/engine/*", "callbacks", "training")
    for path in ROOT.glob(pattern)
    if (path.is_dir() or (path.suffix == ".py" and pattern == "kerasxai/*")) and path.name != "__pycache__"
)

# Parts of names, split at underscores, and the word that stands for each now. None may appear as a name in the code.
OLD_NAMES = {
    "ask": "evaluate, query",
    "asked": "requested, query",
    "came": "given, value",
    "doubtful": "looks_like_probabilities",
    "entrance": "ablation_point",
    "fed": "inputs, feed",
    "held": "overridden, cached",
    "hidden": "to_model",
    "others": "other_inputs, rest",
    "places": "positions",
    "posed": "prepared",
    "seen": "forward, fp",
    "sides": "spatial_shape, shape",
    "spans": "receptive_fields",
    "tell": "report, print",
    "told": "diagnostics, reported",
    "together": "effective_batch_size",
    "twin": "clone",
    "wanted": "custom_targets, requested",
}
OLD_CLASSES = {"View", "Pass", "BlackBox", "Form", "Care", "LabelsShown", "Freezer", "Place", "Spans"}

# Public parameters keep their names, and so does what TensorFlow Datasets reads.
PUBLIC_NAMES = {
    "kerasxai/data/shapes/builder.py": {"RELEASE_NOTES"},
    "kerasxai/data/shapes/pairs_builder.py": {"RELEASE_NOTES"},
    "kerasxai/metrics/boxes.py": {"others"},
}

# Phrases that read as if translated, in docstrings, comments and messages.
OLD_PHRASES = (
    "anew",
    "as it is",
    "asks",
    "beside",
    "came",
    "hangs on",
    "leave away",
    "one's own",
    "stands",
    "tells",
    "told",
    "wants",
    "what it was",
    "whoever",
)

# The two forms, and a third for what the world outside refuses: files, downloads, other people's code.
MESSAGES = (
    re.compile(r"^(.+?: )?expected .+, got .+", re.DOTALL),
    re.compile(r"^.+ must (?!.* must ).+, got .+", re.DOTALL),
    re.compile(r"^(.+?: )?cannot .+: .+", re.DOTALL),
)
# Not those of slices of TensorFlow Datasets and of style sheets.
CLOSE_PERCENTS = re.compile(r"(?<![:\d.])(\d[\d.]*|\})%(?![\]:])")
ERRORS = {"KerasxaiError", "ValueError", "TypeError"}


def _files(room: str) -> list[Path]:
    path = ROOT / room
    if path.is_file():
        return [path]
    return sorted(path.glob("*.py") if room == "kerasxai/engine" else path.rglob("*.py"))


def _text(node: ast.expr) -> str:
    """Return a message with {} for each value that is put into it."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(value) for value in node.values)
    if isinstance(node, ast.BinOp):
        return _text(node.left) + _text(node.right)
    return "{}"


def _messages(source: str) -> Iterator[tuple[int, str]]:
    """Yield the messages that are written where an error is made; "{}" alone was written elsewhere."""
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ERRORS):
            continue
        if node.args and (message := _text(node.args[0])).strip("{}"):
            yield node.lineno, message


def _old_words(source: str, public: Container[str] = ()) -> Iterator[tuple[int, str]]:
    prose = {tokenize.STRING, tokenize.COMMENT, getattr(tokenize, "FSTRING_MIDDLE", -1)}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.NAME and token.string not in public:
            if token.string in OLD_CLASSES:
                yield token.start[0], token.string
            for word in {*token.string.lower().split("_")} & OLD_NAMES.keys():
                yield token.start[0], f"{token.string} ({word}: {OLD_NAMES[word]})"
        elif token.type in prose:
            for phrase in OLD_PHRASES:
                if re.search(rf"\b{phrase}\b", token.string):
                    yield token.start[0], phrase


@pytest.mark.parametrize("room", ROOMS)
def test_messages_have_one_of_the_forms(room: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {message}"
        for path in _files(room)
        for line, message in _messages(path.read_text())
        if not any(form.match(message) for form in MESSAGES)
    ]
    assert not wrong, "\n".join(wrong)


def _percentages(source: str) -> Iterator[tuple[int, str]]:
    """Yield percentages without a space before the sign, also those that a format makes."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FormattedValue) and node.format_spec is not None:
            if _text(node.format_spec).endswith("%"):
                yield node.lineno, _text(node.format_spec)
        elif isinstance(node, ast.Constant | ast.JoinedStr) and (found := CLOSE_PERCENTS.search(_text(node))):
            yield node.lineno, found.group()


@pytest.mark.parametrize("room", ROOMS)
def test_percentages_have_one_form(room: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text}; write 73 %, as kerasxai.tools.printable.percent does"
        for path in _files(room)
        if path.name != "printable.py"
        for line, text in _percentages(path.read_text())
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("text", ['f"{share:.0%}"', 'f"{100 * share}%"', '"at 20%"', '"""73% of 2."""'])
def test_a_percentage_without_space_is_found(text: str) -> None:
    assert list(_percentages(f"a = {text}"))
    assert not list(_percentages('a = ["at 20 %", f"{number} %", "train[:90%]", "train[80%:90%]", "width:100%"]'))


@pytest.mark.parametrize("room", ROOMS)
def test_no_old_words(room: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {word}"
        for path in _files(room)
        for line, word in _old_words(path.read_text(), PUBLIC_NAMES.get(str(path.relative_to(ROOT)), ()))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "message",
    [
        "expected images (N, H, W, C), got shape (3,); add a batch axis",
        "weights: expected a file, got a folder",
        "k must be 1 or more, got 0",
        "cannot read photo.png: not an image",
    ],
)
def test_the_forms_are_recognized(message: str) -> None:
    assert any(form.match(message) for form in MESSAGES)


@pytest.mark.parametrize("message", ["a heatmap wants the shape (H, W), came (3,)", "k must be positive", "no layers"])
def test_other_messages_are_found(message: str) -> None:
    assert not any(form.match(message) for form in MESSAGES)
