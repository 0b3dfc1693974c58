"""Run the notebooks and keep their outputs: `make notebooks`, or `python docs/notebooks.py NAME...`.

They run in one temporary folder, so that nothing of a reader's is in them.
"""

import argparse
import base64
import io
import os
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

FOLDER = Path(__file__).parent / "notebooks"
NAMES = ("first_steps", "fine_tune_and_watch", "evaluate_and_compare", "audit")
"""The notebooks, in the order in which they are read."""


def run(name: str, folder: Path, timeout: int = 900) -> nbformat.NotebookNode:
    """Run a notebook in a folder, and return it with its outputs.

    Args:
        name: A name in NAMES.
        folder: The working folder; later notebooks find models of earlier ones in it.
        timeout: Seconds for a cell.

    Raises:
        nbclient.exceptions.CellExecutionError: A cell failed.
    """
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    # Times and the version of Python would change with each run.
    client = NotebookClient(
        notebook, timeout=timeout, record_timing=False, resources={"metadata": {"path": str(folder)}}
    )
    client.execute()
    return for_readers(notebook)


def for_readers(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Keep small pictures, and leave out logs, warnings and what depends on the machine."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not _is_log(output)]
            cell.metadata = {}
            for output in cell.outputs:
                if "image/png" in output.get("data", {}):
                    output.data["image/png"] = _small(output.data["image/png"])
    notebook.metadata = {"kernelspec": notebook.metadata.get("kernelspec", {}), "language_info": {"name": "python"}}
    return notebook


def _is_log(output: nbformat.NotebookNode) -> bool:
    # TensorFlow writes some of its warnings to standard output.
    return output.get("name") == "stderr" or output.get("text", "").startswith("WARNING:")


def _small(png: str) -> str:
    """Return a picture of at most 1000 pixels a side in 256 colors, about a third of the bytes."""
    with Image.open(io.BytesIO(base64.b64decode(png))) as picture:
        image = picture.convert("RGB")
    image.thumbnail((1000, 1000))
    file = io.BytesIO()
    image.quantize(256).save(file, "png", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def main() -> None:
    """Run the notebooks that are named, or all, and write them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", choices=[*NAMES, []], metavar="NAME", help="notebooks to run")
    names = parser.parse_args().names or NAMES
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            print(name, flush=True)
            nbformat.write(run(name, Path(folder)), FOLDER / f"{name}.ipynb")


if __name__ == "__main__":
    main()
