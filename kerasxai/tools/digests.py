"""Digests of files, by which results recognize the model that they are of."""

import hashlib
from pathlib import Path

from kerasxai.tools.files import cannot

_BLOCK = 2**20


def model_identity(model: str) -> dict[str, str]:
    """Return what results keep of the model that they are of: its digest, or the name of a model without a file."""
    digest = digest_of(model)
    return {"name": model} if digest is None else {"sha256": digest}


def digest_of(model: str) -> str | None:
    """Return the digest of a model's file, or of all files in the folder of a model or preset; None for a name."""
    path = Path(model.removeprefix("hub:"))
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        if not file.is_file():
            return None
        try:
            with file.open("rb") as opened:
                while block := opened.read(_BLOCK):
                    digest.update(block)
        except OSError as error:
            raise cannot("read", file, error) from error
    return digest.hexdigest()
