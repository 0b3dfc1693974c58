"""`write_report`: from folders of runs to one HTML file."""

import logging
from collections.abc import Sequence
from pathlib import Path

from kerasxai.report.config import ReportConfig
from kerasxai.report.data_card import DataCard, data_card
from kerasxai.report.epochs import epoch_groups
from kerasxai.report.gallery import Group, galleries
from kerasxai.report.page import GENERATOR, Page, render
from kerasxai.report.runs import ReportedRun, model_of, read_reported, saved_by
from kerasxai.report.sections import Section, localization_sections, overview, shared_curves, training_section
from kerasxai.report.variants import source_of
from kerasxai.tools.commands import command_line
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.files import open_text, write_text
from kerasxai.tools.folders import check_output_folder
from kerasxai.tools.printable import printable
from kerasxai.viz.report import installed_versions

_LOG = logging.getLogger(__name__)
_LARGE = 10_000_000
_HEAD = 2000


def write_report(config: ReportConfig) -> Path:
    """Write a report on runs.

    Batches that are explained are kept in a folder next to the file, so that a killed report continues, and a report
    with a further method costs only the time of that method.

    Args:
        config: The settings.

    Returns:
        The HTML file.

    Raises:
        KerasxaiError: A folder has no run, its data or its model cannot be read, or the file cannot be written.

    Example:
        >>> write_report(ReportConfig(runs=["runs/gap"], images=24, out=Path("report.html")))  # doctest: +SKIP
        PosixPath('report.html')
    """
    _check_file(config.out)
    runs = read_reported(config.runs)
    groups: list[Group] = []
    notes: list[str] = []
    if config.images:
        groups = galleries(runs, config, config.out.with_name(f"{config.out.stem}_parts"))
    by_epoch = epoch_groups(runs)
    if any(run.training is not None for run in runs) and not by_epoch:
        notes.append(
            "No heatmaps were logged while training, so there is no slider over epochs: kerasxai train --explain "
            "METHOD logs them."
        )
    if groups or by_epoch:
        notes.insert(0, _pictures_of([*groups, *by_epoch], runs))
    page = Page(
        f"Report: {', '.join(run.name for run in runs)}",
        command_line(),
        installed_versions(),
        overview(runs),
        [group.content() for group in [*groups, *by_epoch]],
        notes,
        localization_sections(runs),
        _trainings(runs),
        _cards(runs, config),
    )
    text = render(page)
    if len(text) > _LARGE:
        _LOG.warning("the report has %.1f MB; --images shows fewer", len(text) / 1e6)
    return write_text(config.out, text)


def _pictures_of(groups: Sequence[Group], runs: Sequence[ReportedRun]) -> str:
    """Return which images the gallery shows, and that figures of trainings are of others."""
    text = f"Pictures: {'; '.join(group.title for group in groups)}."
    if any(run.training is not None for run in runs):
        text += " Figures of trainings are of training and validation images, as named with each."
    return text


def _check_file(path: Path) -> None:
    """Refuse a file that is not a report, before any long work."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise KerasxaiError(f"out must be an HTML file, got {printable(path)}")
    check_output_folder(path.parent)
    if path.exists():
        with open_text(path) as file:
            is_report = GENERATOR in file.read(_HEAD)
        if not is_report:
            raise KerasxaiError(f"expected a new file or a report, got {printable(path)}; choose another --out")


def _trainings(runs: Sequence[ReportedRun]) -> list[Section]:
    sections = []
    for run in runs:
        if run.training is None:
            continue
        try:
            model = model_of(run)
        except KerasxaiError:  # Refused before if it is needed for a gallery.
            model = ""
        sections.append(training_section(run, model, saved_by(model) if model else ""))
    shared = shared_curves(runs)
    return sections if shared is None else [shared, *sections]


def _cards(runs: Sequence[ReportedRun], config: ReportConfig) -> list[DataCard]:
    sources = [source_of(run, config) for run in runs]
    chosen = {(one.data, one.data_dir, one.boxes_csv): one for one in sources}
    return [data_card(one, config.seed) for one in chosen.values()]
