"""Features learned by a network: filters, activations, patches, class images, neighbors and embeddings."""

import importlib
from typing import Any

_NAMES = {
    "Ascent": "kerasxai.features.visualization",
    "Augmentation": "kerasxai.features.augmentation",
    "Dissection": "kerasxai.features.units",
    "Embeddings": "kerasxai.features.embedding",
    "Filters": "kerasxai.features.kernels",
    "NeighborIndex": "kerasxai.features.neighbors",
    "Neighbors": "kerasxai.features.neighbors",
    "Patches": "kerasxai.features.patches",
    "Projection": "kerasxai.features.projection",
    "QuantileSample": "kerasxai.features.units",
    "ReceptiveField": "kerasxai.features.fields",
    "activation_quantiles": "kerasxai.features.units",
    "activations": "kerasxai.features.units",
    "ascend": "kerasxai.features.visualization",
    "dissect": "kerasxai.features.units",
    "embed": "kerasxai.features.embedding",
    "filters": "kerasxai.features.kernels",
    "load_embeddings": "kerasxai.features.embedding",
    "project": "kerasxai.features.projection",
    "receptive_field": "kerasxai.features.fields",
    "robust_probabilities": "kerasxai.features.visualization",
    "top_patches": "kerasxai.features.patches",
    "visualize": "kerasxai.features.visualization",
}

__all__ = [*_NAMES]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    raise AttributeError(f"module 'kerasxai.features' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
