"""A model with constants in the place of statistics that it computes over each picture.

    python -m converters.fold MODEL --images DIR --annotations COCO.json [--calibration DIR] --output DIR

For graphs that were frozen in training mode, so that batch norm takes its statistics from the picture at hand. Writes
NAME-folded.xml and .bin (FP16) if AP falls by 1.0 point at most. AP may well rise, because such networks were trained with the
statistics of many pictures; and the result is faster.
"""

from __future__ import annotations

import argparse
import sys

from converters import command, trial
from edgepose.errors import ModelError


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m converters.fold", description="Statistics of a network made constant.")
    trial.add_options(parser, by_ap_alone=True)  # a folded network finds other people, and only AP says whether they are there
    options = parser.parse_args(arguments)
    return command.run(parser.prog, lambda: _fold(options))


def _fold(options: argparse.Namespace) -> None:
    from converters.files import as_written
    from converters.int8.gate import MAX_AP_DROP
    from converters.int8.graph import batch_normalisations, channels_first, with_constant_statistics
    from edgepose.engines.openvino_core import nothing_kept

    with nothing_kept():
        on_trial = trial.prepare(options)
        network = channels_first(on_trial.network)
        if not (count := len(batch_normalisations(network))):
            raise ModelError(f"{on_trial.model.name} computes no statistics over its batch; there is nothing to fold")
        before = on_trial.gate.measure(on_trial.network)
        on_trial.gate.judge(before, before)  # raises an error where the pictures prove nothing
        folded, _ = as_written(channels_first(with_constant_statistics(network, on_trial.tensors)), fp16=True)
        verdict = on_trial.gate.judge(before, on_trial.gate.measure(folded))
        print(f"given: {on_trial.gate.describe(before)}")
        print(f"statistics of {count} layers made constant: {verdict.figures}: {'passes' if verdict.passed else 'refused'}")
        if not verdict.passed:
            wanted = f"at most {MAX_AP_DROP} below, and scores that stay"
            raise ModelError(f"{verdict.figures}; expected {wanted}; nothing is written")
        name = options.name or f"{on_trial.model.name}-folded"
        trial.write(on_trial, folded, name, options.output, f"statistics of {count} layers made constant", verdict.ap, None)
    print(f"{options.output / name}.xml and .bin")


if __name__ == "__main__":
    sys.exit(main())
