"""Measure kerasxai: `python -m benchmarks` runs every part, `python -m benchmarks PART --help` explains one.

With `--write` the tables are stored in `benchmarks/results/`, and the pages that show them are rewritten.
`python -m benchmarks tables` rewrites the pages from the stored results and measures nothing.
"""

import argparse
import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Sequence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from benchmarks import pages, peers_environment, store
from benchmarks.parts import PARTS, Part
from benchmarks.tables import print_on_terminal, report

ONEDNN = "TF_ENABLE_ONEDNN_OPTS"


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in PARTS:
        return run_part(PARTS[words[0]], words[1:])
    if words[:1] == ["photographs"]:
        return _build_photographs(words[1:])
    if words == ["tables"]:
        pages.rewrite()
        return 0
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=_Formatter, epilog=_list_of_parts()
    )
    _add_shared(parser)
    return run_all(parser.parse_args(words))


def run_all(arguments: argparse.Namespace) -> int:
    """Run each part that needs no arguments in a process of its own; a part that fails does not stop the rest."""
    flags = [f"--{name}" for name in ("quick", "write") if getattr(arguments, name)]
    failed = []
    for part in PARTS.values():
        if not part.alone:
            continue
        for onednn, words in _settings_of(part, arguments.quick):
            name = part.name if onednn is None else f"{part.name}, oneDNN {'on' if onednn == '1' else 'off'}"
            report(f"\n== {name}")
            environment = os.environ | ({} if onednn is None else {ONEDNN: onednn})
            started = time.monotonic()
            command = [sys.executable, "-m", "benchmarks", part.name, *words, *flags]
            process = subprocess.run(command, env=environment)
            report(f"== {name}: {time.monotonic() - started:.0f} s")
            if process.returncode:
                failed.append(name)
    if failed:
        report(f"failed: {'; '.join(failed)}")
    return int(bool(failed))


def _settings_of(part: Part, quick: bool) -> list[tuple[str | None, tuple[str, ...]]]:
    """Return the value of the variable of oneDNN and further arguments of each measurement of a part."""
    # One setting is enough to see whether a part runs.
    if quick or not part.by_onednn:
        return [(None, ())]
    return [("1", ()), *([] if part.without_onednn is None else [("0", part.without_onednn)])]


def run_part(part: Part, words: Sequence[str]) -> int:
    """Measure one part, print its tables, and store each with `--write`."""
    if part.with_peers and not peers_environment.installed()[0] and "--help" not in words and "-h" not in words:
        return peers_environment.run_there([part.name, *words])
    arguments = _parsed(part, words)
    for table in part.load().run(arguments):
        packages = tuple(peers_environment.PACKAGES) if part.with_peers else ()
        conditions = store.current_conditions([part.name, *(word for word in words if word != "--write")], packages)
        if part.by_onednn:
            state = "on" if conditions.onednn else "off"
            table = dataclasses.replace(
                table, key=f"{table.key}/onednn-{state}", title=f"{table.title}, oneDNN {state}"
            )
        else:
            conditions = dataclasses.replace(conditions, onednn=None)
        print_on_terminal(table)
        if arguments.write:
            store.write(part.name, store.Stored(table, conditions))
            pages.rewrite()
    return 0


def _parsed(part: Part, words: Sequence[str]) -> argparse.Namespace:
    module = part.load()
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks {part.name}", description=module.__doc__, formatter_class=_Formatter
    )
    _add_shared(parser)
    module.add_arguments(parser)
    if "--quick" in words:
        # Arguments that are given still count.
        parser.set_defaults(**part.quick_defaults())
    return parser.parse_args(words)


def _build_photographs(words: Sequence[str]) -> int:
    from benchmarks import photographs

    parser = argparse.ArgumentParser(
        prog="python -m benchmarks photographs", description=photographs.__doc__, formatter_class=_Formatter
    )
    photographs.add_arguments(parser)
    photographs.run(parser.parse_args(words))
    return 0


def _add_shared(parser: argparse.ArgumentParser) -> None:
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--quick", action="store_true", help="few rounds and small models, to see whether it runs")
    group.add_argument("--write", action="store_true", help="store the tables, and rewrite the pages that show them")


def _list_of_parts() -> str:
    lines = [f"  {part.name:14}{part.summary}" for part in PARTS.values()]
    commands = {
        "tables": "rewrite the pages from the stored results",
        "photographs": "build the photographs to measure on",
    }
    return "\n".join(["parts:", *lines, "other commands:", *(f"  {name:14}{text}" for name, text in commands.items())])


class _Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    pass


if __name__ == "__main__":
    sys.exit(main())
