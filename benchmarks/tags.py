"""Speed of the decoder of heatmaps and tags against a plain NumPy and SciPy one, on synthetic scenes: medians of one run.

python benchmarks/tags.py [--runs 60] [--json PATH]    needs SciPy, which the extra `test` installs
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
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from edgepose.decoding.tags import decode_tags
from edgepose.doctor import processor
from edgepose.skeleton import COCO17, OPENPOSE18, convert
from tests.synthetic.plain_tags import decode
from tests.synthetic.scenes import MISSING, place_people

PEOPLE = (1, 5, 20)
SIZE = (128, 160)  # cells: an input of 256 x 320
SEEDS = 4  # scenes of each kind
PLAIN_EVERY = 4  # the plain decoder runs once for so many runs of the other

PEAK_SIGMA = 2.0  # cells, as HigherHRNet is taught
APART = 2.2  # between the tags of two people
TAG_NOISE = 0.1  # standard deviation, of the tags of one person and where nobody is
NOISE = 0.01  # standard deviation of the heatmaps where nobody is

Float = NDArray[np.float32]


def make_scene(people: int, height: int, width: int, seed: int = 0) -> tuple[Float, Float]:
    """Heatmaps and tags (17, h, w) of `people` people; the more there are, the smaller they stand."""
    rng = np.random.default_rng(seed)
    placed = place_people(rng, people, height, width)
    keypoints, _ = convert(placed, np.ones(placed.shape[:2], np.float32), OPENPOSE18, COCO17)
    found = rng.random((people, 17)) >= MISSING
    strength = rng.uniform(0.4, 1, (people, 17))
    person_tags = APART * rng.permutation(people)
    rows, columns = np.mgrid[:height, :width]
    heatmaps = np.abs(rng.normal(0, NOISE, (17, height, width)))
    tags = rng.normal(0, TAG_NOISE, (17, height, width))
    nearest = np.full((17, height, width), 3 * PEAK_SIGMA)  # beyond, a keypoint does not colour the map
    for n, k in np.argwhere(found):
        distance = np.hypot(columns - keypoints[n, k, 0], rows - keypoints[n, k, 1])
        np.maximum(heatmaps[k], strength[n, k] * np.exp(-np.square(distance / PEAK_SIGMA) / 2), out=heatmaps[k])
        own = distance < nearest[k]
        tags[k][own] = person_tags[n] + rng.normal(0, TAG_NOISE)
        nearest[k][own] = distance[own]
    return heatmaps.astype(np.float32), tags.astype(np.float32)


def measure(people: int, height: int, width: int, runs: int) -> dict[str, float]:
    """Median milliseconds of both decoders on scenes of one kind, taken in turn, and their ratio."""
    scenes = [make_scene(people, height, width, seed) for seed in range(SEEDS)]
    ours: list[float] = []
    plain: list[float] = []
    found = 0
    for run in range(runs):
        heatmaps, tags = scenes[run % SEEDS]
        started = time.perf_counter()
        result = decode_tags(heatmaps, tags)
        ours.append(time.perf_counter() - started)
        found += len(result.confidence)
        if run % PLAIN_EVERY == 0:
            heatmaps, tags = scenes[run // PLAIN_EVERY % SEEDS]
            started = time.perf_counter()
            decode(heatmaps, tags)
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
    decode_tags(*make_scene(1, *SIZE))  # compiles
    rows = [measure(people, *SIZE, options.runs) for people in PEOPLE]
    print(f"{machine}; medians of {options.runs} runs\n\n| cells | people | found | plain ms | edgepose ms | ratio |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        cells = f"{row['height']}x{row['width']} | {row['people']} | {row['found']:.1f}"
        print(f"| {cells} | {row['plain_ms']:.2f} | {row['edgepose_ms']:.3f} | {row['ratio']:.0f}x |")
    if options.json:
        options.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
