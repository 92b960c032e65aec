"""Speed of the decoders of SimCC, rows, MoveNet, embeddings and HigherHRNet's two outputs, and of detectors' rows, against
plain NumPy and Python twins, on synthetic outputs: medians of one run, taken in turn.

    python benchmarks/decoders.py [--people 10] [--runs 40] [--json FILE]

It needs SciPy, which the extra `eval` installs.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from synthetic import plain_decoders, plain_tags
from synthetic.tagged_scenes import make_scene

from edgepose.decoding.movenet import decode_movenet
from edgepose.decoding.resolutions import merge_resolutions
from edgepose.decoding.rows import MOST_OVERLAP, decode_rows
from edgepose.decoding.simcc import decode_simcc
from edgepose.decoding.tags import decode_tags
from edgepose.doctor import processor
from edgepose.kernels.suppression import are_boxes, best_first, distinct_boxes

Float = NDArray[np.float32]
Pair = tuple[Callable[[], Any], Callable[[], Any]]  # a decoder and its plain twin, on the same outputs
PLAIN_EVERY = 8  # the plain twin runs once for so many runs of the other
PLACES = 8400  # rows of a YOLO with an input of 640 x 640
AROUND = 12  # places that see the same person


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=10)
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    machine = f"{processor()}, Python {platform.python_version()}, numba {version('numba')}, numpy {version('numpy')}"
    print(f"{machine}; {options.people} people, medians of {options.runs} runs\n")
    print("| decoder | plain ms | edgepose ms | ratio |\n|---|---|---|---|")
    rows = []
    for name, (ours, plain) in pairs(options.people, np.random.default_rng(0)).items():
        ours(), plain()  # compiles
        own_ms, plain_ms = measure(ours, plain, options.runs)
        rows.append({"decoder": name, "plain_ms": plain_ms, "edgepose_ms": own_ms})
        print(f"| {name} | {plain_ms:.2f} | {own_ms:.3f} | {plain_ms / own_ms:.0f}x |", flush=True)
    if options.json:
        options.json.write_text(json.dumps({"machine": machine, "people": options.people, "rows": rows}, indent=2))


def measure(ours: Callable[[], Any], plain: Callable[[], Any], runs: int) -> tuple[float, float]:
    """Median milliseconds of both, taken in turn."""
    times: tuple[list[float], list[float]] = ([], [])
    for run in range(runs):
        for function, spent in zip((ours, plain), times, strict=True):
            if function is ours or run % PLAIN_EVERY == 0:
                started = time.perf_counter()
                function()
                spent.append(1000 * (time.perf_counter() - started))
    return float(np.median(times[0])), float(np.median(times[1]))


def pairs(people: int, random: np.random.Generator) -> dict[str, Pair]:
    """The decoders by name, each with outputs of `people` people."""
    bins = [random.random((people, 17, side), np.float32) for side in (384, 512)]
    columns = places(people, random)
    table = np.ascontiguousarray(columns.T)
    points, confidence = random.random((people, 17, 3), np.float32), random.random(people, np.float32)
    heatmaps, tags = make_scene(people, 144, 144, 0)
    coarse, fine = np.concatenate([heatmaps, tags]), np.zeros((17, 288, 288), np.float32)
    corners = table[:, :4].copy()
    corners[:, 2:] += corners[:, :2]

    def detect() -> Any:
        rows = best_first(table[:, 4], 0.5, 1000)
        boxes = corners[rows]
        return distinct_boxes(boxes[are_boxes(boxes)], MOST_OVERLAP, 256)

    def turned() -> Any:
        return decode_rows(columns.T, columns.T[:, 5:], types=17, are_centred=True, min_score=0.1)

    def straight() -> Any:
        return decode_rows(table, table[:, 5:], types=17, are_centred=True, min_score=0.1)

    def plain_rows() -> Any:
        return plain_decoders.rows(table, 17, 5, 3, True, 0.1, MOST_OVERLAP)

    return {
        "simcc": (lambda: decode_simcc(*bins), lambda: plain_decoders.simcc(*bins)),
        f"rows (1, 56, {PLACES})": (turned, plain_rows),
        f"rows (1, {PLACES}, 56)": (straight, plain_rows),
        "movenet": (
            lambda: decode_movenet(points, confidence, (256, 256), min_score=0.1),
            lambda: plain_decoders.movenet(points, confidence, 256, 256, 0.1),
        ),
        "embeddings 144x144": (
            lambda: decode_tags(heatmaps, tags, fill_threshold=0.05, reweight=True),
            lambda: plain_decoders.embeddings(heatmaps, heatmaps, tags, 0.1, 0.05),
        ),
        "two resolutions to 288x288, alone": (
            lambda: merge_resolutions(coarse, fine),
            lambda: plain_tags.merge(coarse, fine),
        ),
        f"boxes (1, {PLACES}, 5)": (detect, lambda: plain_decoders.distinct(corners, table[:, 4], 0.5, MOST_OVERLAP)),
    }


def places(people: int, random: np.random.Generator) -> Float:
    """(56, N) as a YOLO answers: `AROUND` places that see each person, others that see next to nothing."""
    columns = np.zeros((56, PLACES), np.float32)
    columns[4] = 0.02 * random.random(PLACES) ** 16
    seen = random.choice(PLACES, (people, AROUND), replace=False)
    for person in range(people):
        middle = random.uniform(50, 590, (2, 1))
        columns[:2, seen[person]] = middle + random.normal(0, 1, (2, AROUND))
        columns[2:4, seen[person]] = [[40], [120]]
        columns[4, seen[person]] = random.uniform(0.3, 0.95, AROUND)
        columns[5::3, seen[person]] = middle[0] + random.uniform(-20, 20, (17, AROUND))
        columns[6::3, seen[person]] = middle[1] + random.uniform(-60, 60, (17, AROUND))
        columns[7::3, seen[person]] = 0.9
    return columns


if __name__ == "__main__":
    main()
