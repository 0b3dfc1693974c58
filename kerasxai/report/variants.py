"""The heatmaps of a gallery: of which data, by which methods. Nothing here imports TensorFlow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kerasxai.evaluation.evaluated_runs import Run
from kerasxai.evaluation.method_rows import split_refinements
from kerasxai.evaluation.multi_label_tables import is_multi_label
from kerasxai.evaluation.tables import name_of
from kerasxai.refinements import RefinementChoice
from kerasxai.report.config import ReportConfig
from kerasxai.report.runs import ReportedRun
from kerasxai.tools.printable import printable

Size = int | tuple[int, int]


@dataclass(frozen=True)
class Source:
    """Images of a run, as its model takes them.

    Attributes:
        data: As for `kerasxai.data.load`.
        split: None for the first of "test" and "validation" that the data have.
        data_dir: As for `kerasxai.data.load`.
        boxes_csv: As for `kerasxai.data.load`.
        fit: As for `kerasxai.data.load`; None: as the model was trained.
        preprocess: As for `kerasxai.Explainer`.
        image_size: As for `EvaluateConfig`.
        labels: "single" or "multi".
    """

    data: str
    split: str | None
    data_dir: str | None
    boxes_csv: str | None
    fit: str | None
    preprocess: str | None
    image_size: Size | None
    labels: str


@dataclass(frozen=True)
class Variant:
    """A method with its settings.

    Attributes:
        method: A name in `kerasxai.METHODS`.
        refine: As for `kerasxai.Explainer`.
        layer: As for `kerasxai.Explainer`.
        score: As for `kerasxai.Explainer`, by name.
        outputs: As for `kerasxai.Explainer`.
        options: Options of the method.
        threshold: The threshold that was chosen for it; None if it was not evaluated.
        chosen_by: How it was chosen.
        refinement: The choice of `refine="auto"` that the evaluation made, for which alone the threshold is right.
    """

    method: str
    refine: str | None = None
    layer: str | None = None
    score: str | None = None
    outputs: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    threshold: float | None = None
    chosen_by: str = ""
    refinement: RefinementChoice | None = None

    @property
    def name(self) -> str:
        """The method with its refinements."""
        return name_of({"method": self.method, "refine": self.refine})

    def settings(self) -> dict[str, Any]:
        """Return the arguments of `kerasxai.Explainer` without the method, ready for JSON."""
        return {name: getattr(self, name) for name in ("layer", "refine", "score", "outputs")} | dict(self.options)


def source_of(run: ReportedRun, config: ReportConfig) -> Source:
    """Return the images of a run: the evaluated ones, or those of the training."""
    if run.evaluations:
        settings = run.evaluations[0].evaluation["settings"]
        size = settings.get("image_size")
        found = Source(
            settings["name_or_path"],
            settings["split"],
            settings.get("data_dir"),
            settings.get("boxes_csv"),
            run.evaluations[0].evaluation.get("fit"),
            settings.get("preprocess"),
            tuple(size) if isinstance(size, list) else size,
            "multi" if is_multi_label(run.evaluations[0].evaluation) else "single",
        )
    else:
        assert run.training is not None  # A run has a training or evaluations.
        given = run.training.config
        # Trained models do the preprocessing themselves and have a fixed size.
        labels = run.training.choices.get("labels") or "single"
        found = Source(given["data"], None, given.get("data_dir"), given.get("boxes_csv"), None, None, None, labels)
    return replace(
        found,
        data=config.data or found.data,
        split=config.split or found.split,
        boxes_csv=config.boxes_csv or found.boxes_csv,
    )


def variants_of(run: ReportedRun, config: ReportConfig) -> list[Variant]:
    """Return the methods of a run's gallery: those of the settings, else the ones evaluated on the same images."""
    alike = [one for one in run.evaluations if _images_of(one) == _images_of(run.evaluations[0])]
    evaluated = [_evaluated(one) for one in alike]
    if config.method is None and config.refine is None and evaluated:
        return list({variant.name: variant for variant in evaluated}.values())
    methods = config.method or list(dict.fromkeys(variant.method for variant in evaluated)) or ["cam"]
    refinements: Sequence[str | None] = split_refinements(config.refine)
    if config.refine is None and evaluated:
        refinements = list(dict.fromkeys(variant.refine for variant in evaluated))
    known = {(variant.method, variant.refine): variant for variant in evaluated}
    return [known.get((method, refine), Variant(method, refine)) for method in methods for refine in refinements]


def _images_of(run: Run) -> tuple[object, object]:
    settings = run.evaluation["settings"]
    return settings["name_or_path"], settings["split"]


def _evaluated(run: Run) -> Variant:
    settings = run.evaluation["settings"]
    refine = settings.get("refine")
    return Variant(
        settings["method"],
        refine if refine is None or isinstance(refine, str) else ",".join(map(str, refine)),
        settings.get("layer"),
        settings.get("score"),
        settings.get("outputs"),
        settings.get("method_options") or {},
        run.chosen["threshold"],
        str(run.chosen["source"]),
        run.evaluation.get("refinement"),
    )


def explain_flags(variant: Variant, source: Source) -> list[str]:
    """Return the flags of `kerasxai explain` for a method and the images of a source."""
    size = source.image_size
    values = {
        "--method": variant.method,
        "--refine": variant.refine,
        "--layer": variant.layer,
        "--score": variant.score,
        "--outputs": variant.outputs,
        "--input-range": None if source.preprocess in (None, "0,255") else source.preprocess,
        "--fit": source.fit,
        "--image-size": None if size is None else str(size) if isinstance(size, int) else "x".join(map(str, size)),
    }
    flags = [word for flag, value in values.items() if value is not None for word in (flag, str(value))]
    return flags + [word for name, value in variant.options.items() for word in ("--option", f"{name}={value}")]


def loading_code(source: Source, split: str, size: tuple[int, int], name: str) -> str:
    """Return Python code that loads an image of a data set without files of its own."""
    boxes = "" if source.data_dir is None else f", data_dir={source.data_dir!r}"
    return (
        f"import kerasxai\n"
        f"samples = kerasxai.data.open({printable(source.data)!r}{boxes}).samples({split!r}, {size!r})\n"
        f"sample = next(s for s in samples.as_numpy_iterator() if s['name'] == {name.encode()!r})\n"
    )


def explaining_code(model: str, variant: Variant) -> str:
    """Return Python code that explains `sample` for the class `target`."""
    given = {name: value for name, value in variant.settings().items() if value is not None}
    words = "".join(f", {name}={value!r}" for name, value in given.items())
    return (
        f"model = kerasxai.models.load_classifier({model!r})\n"
        f"kerasxai.Explainer(model, {variant.method!r}{words})(sample['image'][None], target).plot()\n"
    )


def image_file(source: Source, name: str) -> Path | None:
    """Return the file of an image of a folder; None for data sets."""
    path = Path(source.data).expanduser() / name
    return path if path.is_file() else None
