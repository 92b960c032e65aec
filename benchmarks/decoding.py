"""Speed of the PAF decoder against a plain NumPy and Python one, on synthetic scenes: medians of one run, taken in turn.

python benchmarks/decoding.py [--runs 60] [--json PATH]
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from edgepose import decode_poses
from edgepose.doctor import processor
from tests.synthetic.plain_decoder import decode
from tests.synthetic.scenes import make_scene

PEOPLE = (1, 5, 10, 20, 40)
SIZES = ((32, 57), (46, 82))  # cells: inputs of 256 x 456 and 368 x 656
SEEDS = 4  # scenes of each kind
PLAIN_EVERY = 4  # the plain decoder runs once for so many runs of the other


def measure(people: int, height: int, width: int, runs: int) -> dict[str, float]:
    """Median milliseconds of both decoders on scenes of one kind, and their ratio."""
    scenes = [make_scene(people, height, width, seed) for seed in range(SEEDS)]
    ours: list[float] = []
    plain: list[float] = []
    found = 0
    for run in range(runs):
        heatmaps, pafs = scenes[run % SEEDS]
        started = time.perf_counter()
        result = decode_poses(heatmaps, pafs)
        ours.append(time.perf_counter() - started)
        found += len(result.confidence)
        if run % PLAIN_EVERY == 0:
            heatmaps, pafs = scenes[run // PLAIN_EVERY % SEEDS]
            started = time.perf_counter()
            decode(heatmaps, pafs)
            plain.append(time.perf_counter() - started)
    ours_ms, plain_ms = 1000 * float(np.median(ours)), 1000 * float(np.median(plain))
    return {
        "height": height, "width": width, "people": people, "found": found / runs,
        "plain_ms": plain_ms, "edgepose_ms": ours_ms, "ratio": plain_ms / ours_ms,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    machine = f"{processor()}, Python {platform.python_version()}, numba {version('numba')}, numpy {version('numpy')}"
    decode_poses(*make_scene(1, 32, 57))  # compiles
    rows = [measure(people, *size, options.runs) for size in SIZES for people in PEOPLE]
    print(f"{machine}; medians of {options.runs} runs\n\n| cells | people | found | plain ms | edgepose ms | ratio |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        cells = f"{row['height']}x{row['width']} | {row['people']} | {row['found']:.1f}"
        print(f"| {cells} | {row['plain_ms']:.2f} | {row['edgepose_ms']:.3f} | {row['ratio']:.0f}x |")
    if options.json:
        options.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
