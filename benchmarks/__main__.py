"""Run the benchmarks: `python -m benchmarks`, or one part of them, `python -m benchmarks speed --help`."""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from benchmarks import accuracy, drawing, localization_sweep, memory, photographs, shortcuts, speed, versions

PARTS = {
    "speed": speed,
    "accuracy": accuracy,
    "memory": memory,
    "drawing": drawing,
    "localization": localization_sweep,
    "shortcuts": shortcuts,
    "versions": versions,
    "photographs": photographs,
}

NEED_ARGUMENTS = ("shortcuts", "versions", "photographs")
"""Parts that no default can be given for; without a part they are left out."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parts = parser.add_subparsers(
        dest="part", metavar="{" + ",".join(PARTS) + "}", help=f"default: all but {', '.join(NEED_ARGUMENTS)}"
    )
    for name, module in PARTS.items():
        summary = (module.__doc__ or "").partition("\n")[0]
        module.add_arguments(
            parts.add_parser(name, help=summary, description=module.__doc__, formatter_class=_Formatter)
        )
    arguments = parser.parse_args()
    if arguments.part:
        PARTS[arguments.part].run(arguments)
        return
    for name in [name for name in PARTS if name not in NEED_ARGUMENTS]:
        print(f"\n== {name}")
        PARTS[name].run(parser.parse_args([name]))


class _Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    pass


if __name__ == "__main__":
    main()
