"""A model to INT8, behind a gate.

    python -m converters.quantize MODEL --images DIR [--annotations COCO.json] [--calibration DIR] --output DIR

Writes NAME-int8.xml, .bin and .md, if an INT8 network is as good as the floating-point one: with annotations, at most 1.0
point of AP below, with scores that stay; without, nearly the same keypoints with nearly the same scores on nearly the same
people. Otherwise it ends with status 1, a table of
what was tried, and no file.
"""

from __future__ import annotations

import argparse
import logging
import sys
from functools import partial

from converters import command, trial
from edgepose.errors import ModelError


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m converters.quantize", description="A model to INT8, behind a gate.")
    trial.add_options(parser)
    parser.add_argument("--preset", choices=("mixed", "performance"), default="mixed", help="NNCF's (default: %(default)s)")
    parser.add_argument(
        "--ignore", nargs="+", default=[], metavar="REGEX", help="operations to keep in floating point, by name"
    )
    parser.add_argument("--ignore-types", nargs="+", default=[], metavar="TYPE", help="and by type, such as MVN")
    parser.add_argument("--thorough-bias-correction", action="store_true", help="slower, and sometimes better")
    about = "factor on the ranges of activations, which clip less the wider they are (default: %(default)s)"
    parser.add_argument("--headroom", type=_headroom, default=1.3, metavar="F", help=about)
    options = parser.parse_args(arguments)
    # Networks that the gate refuses may see people everywhere, which is worth a warning anywhere else.
    return command.run(parser.prog, lambda: _quantize(options), log=logging.ERROR)


def _headroom(text: str) -> float:
    """A factor from 1 to 10, for argparse."""
    try:
        factor = float(text)
    except ValueError:
        factor = 0.0
    if not 1 <= factor <= 10:
        raise argparse.ArgumentTypeError(f"{text!r} given; expected a number from 1 to 10")
    return factor


def _quantize(options: argparse.Namespace) -> None:
    command.need("nncf")

    from converters.int8.nncf import Recipe
    from converters.int8.report import write_report
    from converters.int8.search import search
    from converters.pictures import no_compiled_left_behind

    recipe = Recipe(
        preset=options.preset,
        fast_bias_correction=not options.thorough_bias_correction,
        ignored=tuple(options.ignore),
        ignored_types=tuple(options.ignore_types),
        headroom=options.headroom,
    )
    with no_compiled_left_behind():
        on_trial = trial.prepare(options)
        outcome = search(on_trial.network, on_trial.gate, on_trial.tensors, recipe, partial(print, flush=True))
        name = options.name or f"{on_trial.model.name}-int8"
        report = write_report(name, on_trial, outcome, recipe)
        print(f"\n{report}", end="")
        chosen = outcome.chosen
        if chosen is None:
            raise ModelError(f"no INT8 model passes: {len(outcome.attempts)} tried, see the table; nothing is written")
        note = f"INT8, {chosen.name}; {chosen.verdict.figures}"
        trial.write(on_trial, chosen.network, name, options.output, note, chosen.verdict.ap, report)
    print(f"\n{options.output / name}.xml, .bin and .md")


if __name__ == "__main__":
    sys.exit(main())
