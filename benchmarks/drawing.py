"""Milliseconds to draw people onto a frame: limbs by colour, and identities with their numbers.

    python benchmarks/drawing.py [--against] [--turns N] [--json PATH]

Frames and people come from a seed, and each turn draws other people. Figures are medians of one thread's processor time.
"in place" draws onto a frame that nobody else needs, as the command line does; the others copy it first.
`--against` adds a column with the same limbs and joints drawn by OpenCV's anti-aliased lines, in turns with it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from synthetic.opencv_drawing import draw_with_opencv
from synthetic.scenes import place_people

import edgepose
from edgepose.doctor import processor
from edgepose.drawing import draw_figures, draw_poses
from edgepose.poses import Poses

SIZES = [(540, 960), (720, 1280), (1080, 1920)]
PEOPLE = [1, 3, 10, 25]
SCENES = 20


def scenes(people: int, height: int, width: int) -> list[Poses]:
    """`SCENES` times `people` people with identities."""
    everybody = [place_people(np.random.default_rng(seed), people, height, width) for seed in range(SCENES)]
    scores, confidence = np.ones((people, 18), np.float32), np.ones(people, np.float32)
    return [Poses(keypoints, scores, confidence, ids=np.arange(people)) for keypoints in everybody]


def take_turns(ways: dict[str, Callable[[Poses], Any]], crowds: list[Poses], turns: int) -> dict[str, float]:
    """Median milliseconds of each way, which take turns at the same people."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns + 1):
        for name, draw in ways.items():
            started = time.thread_time()
            draw(crowds[turn % len(crowds)])
            if turn:  # the first one compiles
                times[name].append(1000 * (time.thread_time() - started))
    return {name: median(spent) for name, spent in times.items()}


def measure(height: int, width: int, people: int, turns: int, against: bool) -> dict[str, float]:
    """A row of the table."""
    coarse = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    image = np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
    place = image.copy()
    ways: dict[str, Callable[[Poses], Any]] = {
        "limbs": lambda poses: draw_poses(image, replace(poses, ids=None)),
        "in place": lambda poses: draw_poses(place, replace(poses, ids=None), out=place),
        "identities": partial(draw_poses, image, color_by="person"),
        "figures": lambda poses: draw_figures(image, fps=30, people=len(poses)),
        "copy alone": lambda _: image.copy(),
    }
    if against:
        ways["OpenCV, limbs"] = partial(draw_with_opencv, image)
    return take_turns(ways, scenes(people, height, width), turns)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", action="store_true", help="also measure OpenCV's lines")
    parser.add_argument("--turns", type=int, default=100, help="of each way (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write the figures here")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    machine = f"{processor()}, OpenCV {cv2.__version__}, NumPy {np.__version__}, edgepose {edgepose.__version__}"
    print(f"{machine}; one thread, milliseconds, medians of {arguments.turns} turns\n")
    rows: list[dict[str, Any]] = []
    for height, width in SIZES:
        for people in PEOPLE:
            row = measure(height, width, people, arguments.turns, arguments.against)
            if not rows:
                print(f"| frame | people | {' | '.join(row)} |\n|---|---{'|---' * len(row)}|")
            print(f"| {width}x{height} | {people} | {' | '.join(f'{value:.2f}' for value in row.values())} |", flush=True)
            rows.append({"height": height, "width": width, "people": people, "ms": row})
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": machine, "turns": arguments.turns, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
