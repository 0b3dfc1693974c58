"""The work of `kerasxai audit`: audit a model, print the findings, write the figures and the page."""

import argparse
from pathlib import Path

from kerasxai import models
from kerasxai.audit.audit import FILES, Audit, audit
from kerasxai.audit.config import AuditConfig
from kerasxai.audit.page import audit_page, method_table, summary
from kerasxai.cli.models_in import load_named
from kerasxai.tools.errors import KerasxaiError
from kerasxai.tools.folders import check_output_folder
from kerasxai.tools.input_range import preprocessing
from kerasxai.tools.json_output import print_json
from kerasxai.tools.model_settings import is_model_name
from kerasxai.tools.printable import printable
from kerasxai.tools.settings import from_options
from kerasxai.tools.text_tables import print_table


def run(options: argparse.Namespace) -> int:
    """Audit, print the findings, and write `audit.json` and `audit.html`.

    Returns:
        0, or 1 if `--fail-on` names what was found.
    """
    preprocessing(options.input_range)  # Refuses a mistake before the model is loaded.
    config = from_options(AuditConfig, options, method_options=dict(options.option))
    out = _default_folder(options.model) if options.out is None else options.out
    check_output_folder(out)
    model = load_named(options.model, options.custom_objects, options.class_names)
    if "shortcut" in options.fail_on and (config.ignore_labels or models.is_multi_label(model)):
        raise KerasxaiError(
            "fail-on must be insane where an image has no single known class, got shortcut; shortcuts are not searched "
            "there"
        )
    found = audit(model, config, out=out)
    audit_page(found, options.model).write(out / FILES[1])
    print_audit(found)
    print(f"figures and page: {printable(str(out / FILES[0]))}, {printable(str(out / FILES[1]))}")
    return 1 if found.failures() & set(options.fail_on) else 0


def print_audit(found: Audit) -> None:
    """Print accuracy, the table of methods, their verdicts and the findings."""
    figures = found.figures
    print_json(figures)
    if figures["accuracy"] is not None:
        print(
            f"{printable(figures['data'])}/{printable(figures['split'])}: top-1 accuracy "
            f"{figures['accuracy']['top1']['value']:.3f}, calibration error {figures['calibration']['ece']:.3f} "
            f"({figures['accuracy']['images']} images)"
        )
    if "mean_average_precision" in figures:
        print(
            f"{printable(figures['data'])}/{printable(figures['split'])}: mean average precision "
            f"{figures['mean_average_precision']:.3f}"
        )
    print_table(*method_table(figures))
    for row in figures["methods"]:
        if row["verdict"]:
            print(f"{row['name']}: {'; '.join(row['verdict']['sentences'])}")
    for one in figures["skipped"]:
        print(f"{one['method']}: not audited: {printable(one['reason'])}")
    for sentence in summary(figures):
        print(printable(sentence))


def _default_folder(model: str) -> Path:
    """Return a folder next to the model file, or in the working directory for a model without a file."""
    return Path("audit") if is_model_name(model) else Path(model).parent / "audit"
