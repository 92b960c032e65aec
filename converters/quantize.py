"""A model in INT8, behind a gate.

    python -m converters.quantize MODEL --images DIR [--annotations COCO.json] [--calibration DIR] --output DIR

Writes NAME-int8.xml, .bin and .md if an INT8 network is as good as the floating-point one. With annotations, AP may fall by
1.0 point at most, and the scores have to stay. Without, nearly the same keypoints with nearly the same scores have to be found
on nearly the same people. Otherwise the program prints a table of what was tried, writes no file, and ends with status 1.
"""

from __future__ import annotations

import argparse
import logging
import sys
from functools import partial

from converters import command, trial
from converters.int8 import recipe
from edgepose.errors import ModelError


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m converters.quantize", description="A model in INT8, behind a gate.")
    trial.add_options(parser)
    recipe.add_options(parser)
    options = parser.parse_args(arguments)
    # edgepose warns of networks that see people everywhere, and here such networks are simply refused.
    return command.run(parser.prog, lambda: _quantize(options), log=logging.ERROR)


def _quantize(options: argparse.Namespace) -> None:
    command.need("nncf")

    from converters.int8.report import write_report
    from converters.int8.search import search
    from edgepose.engines.openvino_core import nothing_kept

    chosen_recipe = recipe.from_options(options)
    with nothing_kept():
        on_trial = trial.prepare(options)
        outcome = search(on_trial.network, on_trial.gate, on_trial.tensors, chosen_recipe, partial(print, flush=True))
        name = options.name or f"{on_trial.model.name}-int8"
        report = write_report(name, on_trial, outcome, chosen_recipe)
        print(f"\n{report}", end="")
        chosen = outcome.chosen
        if chosen is None:
            raise ModelError(f"no INT8 model passes: {len(outcome.attempts)} tried, see the table; nothing is written")
        note = f"INT8, {chosen.name}; {chosen.verdict.figures}"
        trial.write(on_trial, chosen.network, name, options.output, note, chosen.verdict.ap, report)
    print(f"\n{options.output / name}.xml, .bin and .md")


if __name__ == "__main__":
    sys.exit(main())
