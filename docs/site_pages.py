"""Pages of the documentation that are generated: methods from METHODS, commands from their parsers, the Python API.

`mkdocs.yml` names this file as a hook; `make docs` builds the site.
"""

import itertools
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from kerasxai.cli import COMMANDS, parser_of  # noqa: E402  (found by the line before)
from kerasxai.methods import METHODS, Method  # noqa: E402

API = {
    "Explaining": ["explain", "show_methods", "Explainer", "Explanation", "list_layers", "to_fiftyone"],
    "Models": [
        "build_classifier",
        "models.load_classifier",
        "models.with_output_stride",
        "models.class_names",
        "models.export",
        "models.with_class_maps",
    ],
    "Data": [
        "data.open",
        "data.load",
        "data.ImageDataset",
        "data.DatasetInfo",
        "data.PairSettings",
        "data.read_image",
        "data.example",
    ],
    # In a checkout the packages kerasxai.callbacks and kerasxai.training are the folders callbacks/ and training/.
    "Callbacks": [
        "callbacks.explanation.ExplanationCallback",
        "callbacks.localization.LocalizationCallback",
        "callbacks.embedding.EmbeddingCallback",
        "callbacks.audit.AuditCallback",
    ],
    "Localization": ["localization.heatmap_to_boxes", "localization.heatmap_to_mask", "localization.common_threshold"],
    "Metrics": ["metrics"],
    "Faithfulness": ["metrics.faithfulness", "metrics.stability", "metrics.complexity"],
    "Sanity checks": ["metrics.sanity"],
    "Audits": ["audit.audit.audit", "audit.config.AuditConfig"],
    "Several machines": ["training.distributed.Workers", "training.distributed.fit"],
    "Scores": ["scores"],
    "Drawing": ["viz"],
    "Features": ["features"],
}
"""The pages of the reference, and what is on them; a package stands for all that it exports."""
# Files of the repository that are pages as well.
_COPIED = {"changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md", "security.md": "SECURITY.md"}


def pages() -> Iterator[tuple[str, str]]:
    """Yield the address and the Markdown of each generated page."""
    yield "methods/index.md", _methods()
    for family, rows in families().items():
        yield f"methods/{family}.md", _family(family, rows)
    yield from _reference()
    yield "reference/commands.md", _commands()
    for path in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        yield f"notebooks/{path.stem}.md", _notebook(path)
    for page, name in _COPIED.items():
        # Links of the repository lead to pages of the site.
        yield page, (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](")


def families() -> dict[str, list[Method]]:
    """Return the rows of METHODS by the module of their function."""
    found: dict[str, list[Method]] = {}
    for row in METHODS.values():
        module = row.reference.partition(":")[0].rpartition(".")[2]
        found.setdefault(module, []).append(row)
    return found


def _methods() -> str:
    lines = ["# Methods", "", "| method | summary | needs | passes |", "|---|---|---|---|"]
    for family, rows in families().items():
        lines += [f"| [`{row.name}`]({family}.md) | {row.summary} | {row.needs} | {row.cost} |" for row in rows]
    return "\n".join(lines) + "\n"


def _family(family: str, rows: list[Method]) -> str:
    names = ", ".join(row.name for row in rows)
    # `make gallery` draws it.
    lines = [f"# {names}", "", f"![{names} of a photograph of a cat]({family}.webp)", ""]
    lines += ["The explained class is the predicted one of EfficientNet-Lite0, Egyptian cat.", ""]
    for row in rows:
        module, _, function = row.reference.partition(":")
        lines += [f"## `{row.name}`", "", row.summary, "", f"Paper: {row.paper}. Needs: {row.needs}.", ""]
        lines += ["```python", f'kerasxai.Explainer(model, "{row.name}")(images)', "```", ""]
        lines += [f"::: {module}.{function}", "    options: {show_root_heading: false, show_root_toc_entry: false}", ""]
    return "\n".join(lines)


def _notebook(path: Path) -> str:
    """Return a notebook with its outputs as Markdown, with its pictures inside."""
    parts: list[str] = []
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            # Links between notebooks lead to pages of the site.
            parts.append(cell.source.replace(".ipynb)", ".md)"))
            continue
        parts.append(f"```python\n{cell.source}\n```")
        parts += [_output(output) for output in cell.outputs]
    return "\n\n".join(parts) + "\n"


def _output(output: nbformat.NotebookNode) -> str:
    data = output.get("data", {})
    if "image/png" in data:
        return f"![output](data:image/png;base64,{data['image/png'].strip()})"
    for kind in ("text/markdown", "text/html"):
        if kind in data:
            return data[kind]
    text = output.get("text") or data.get("text/plain", "")
    return f"```text\n{text.rstrip()}\n```"


def _reference() -> Iterator[tuple[str, str]]:
    index = ["# Python API", ""]
    for heading, names in API.items():
        page = f"{heading.lower().replace(' ', '_')}.md"
        lines = [f"# {heading}", ""]
        for name in itertools.chain.from_iterable(map(_exported, names)):
            address = name if name.startswith(("callbacks.", "training.")) else f"kerasxai.{name}"
            lines += [f"::: {address}", "    options: {heading_level: 2}", ""]
        index.append(f"- [{heading}]({page})")
        yield f"reference/{page}", "\n".join(lines)
    yield "reference/index.md", "\n".join(index) + "\n"


def _exported(name: str) -> list[str]:
    """Return the functions and classes that a package exports by its stub; anything else is itself."""
    folder = ROOT / "kerasxai" / name.replace(".", "/")
    stub = folder / "__init__.pyi"
    if not stub.exists():
        return [name]
    found = re.findall(r"^from (\.\S*) import \w+ as (\w+)$", stub.read_text(encoding="utf-8"), re.MULTILINE)
    # Packages and modules have pages of their own; tables in capitals are shown elsewhere.
    return [f"{name}.{one}" for module, one in found if module != "." and not one.isupper()]


def _commands() -> str:
    lines = ["# Command line", "", "Every command prints this with `--help`.", ""]
    for name in COMMANDS:
        text = re.sub(r"\x1b\[[0-9;]*m", "", parser_of(name).format_help())
        lines += [f"## kerasxai {name}", "", "```text", text.rstrip(), "```", ""]
    return "\n".join(lines)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages to the site."""
    for address, text in pages():
        files.append(File.generated(config, address, content=text))
    return files
