"""Settings of the heatmaps and measurements of each epoch. Nothing here imports TensorFlow."""

from dataclasses import dataclass

from kerasxai.methods import METHODS
from kerasxai.tools.arguments import comma_separated
from kerasxai.tools.errors import unknown
from kerasxai.tools.log_services import LOG_SERVICES, check_service
from kerasxai.tools.options import whole
from kerasxai.tools.settings import Limits, setting
from kerasxai.training.names import argument

DRAWING = "drawing"
"""Heading of `--help`."""


@dataclass(frozen=True)
class Drawing:
    """Heatmaps and measurements during training.

    Attributes:
        methods: Explainers to draw, names in `kerasxai.METHODS`.
        images: Number of drawn images.
        every: Epochs between drawings.
        measured: Number of validation images measured each epoch, rounded up to whole batches; None: all; 0: none.
        log: Where figures and sheets are logged, names in `kerasxai.tools.log_services.LOG_SERVICES`.
    """

    methods: tuple[str, ...] = setting(
        "methods to draw each epoch (default: cam,gradcam); none: `--explain ''`",
        DRAWING,
        ("cam", "gradcam"),
        flag="--explain",
        metavar="NAMES",
        parse=comma_separated,
    )
    images: int = setting("images drawn each epoch", DRAWING, 8, flag="--explain-images", limits=Limits(least=0))
    every: int = setting("epochs between drawings", DRAWING, 1, flag="--explain-every", limits=Limits(least=1))
    measured: int | None = setting(
        "validation images measured each epoch if there are boxes, spread over a folder; 0: none (default: all)",
        DRAWING,
        None,
        flag="--localize-images",
        limits=Limits(least=0),
    )
    log: tuple[str, ...] = setting(
        f"log settings, figures and sheets to {', '.join(LOG_SERVICES)}; may be repeated",
        DRAWING,
        (),
        metavar="NAME",
        parse=argument(check_service),
        collect=tuple,
    )

    def __post_init__(self) -> None:
        for name in self.methods:
            if name not in METHODS:
                raise unknown("method", name, METHODS)
        whole("explain_images", self.images, least=0)
        whole("explain_every", self.every, least=1)
        if self.measured is not None:
            whole("localize_images", self.measured, least=0)
        for name in self.log:
            check_service(name)
