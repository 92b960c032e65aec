"""The measurement that decoding.py and tags.py share: a decoder against its plain twin, on scenes of growing crowds."""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from edgepose.arrays import Float
from edgepose.decoding import DecodedPoses
from edgepose.doctor import processor

SEEDS = 4  # scenes of each kind
PLAIN_EVERY = 4  # the plain decoder runs once for so many runs of the other

Maps = tuple[Float, Float]
Decode = Callable[[Float, Float], DecodedPoses]
Plain = Callable[[Float, Float], Any]
MakeScene = Callable[[int, int, int, int], Maps]  # of people, height and width in cells, seed


def run(
    description: str,
    decode: Decode,
    plain: Plain,
    make_scene: MakeScene,
    sizes: Sequence[tuple[int, int]],
    crowds: Sequence[int],
) -> None:
    """Parse the command line, measure every size (height, width in cells) and number of people, and print the table."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    machine = f"{processor()}, Python {platform.python_version()}, numba {version('numba')}, numpy {version('numpy')}"
    decode(*make_scene(1, *sizes[0], 0))  # compiles
    rows = []
    for height, width in sizes:
        for people in crowds:
            scenes = [make_scene(people, height, width, seed) for seed in range(SEEDS)]
            rows.append({"height": height, "width": width, "people": people, **measure(decode, plain, scenes, options.runs)})
    print(f"{machine}; medians of {options.runs} runs\n\n| cells | people | found | plain ms | edgepose ms | ratio |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        cells = f"{row['height']}x{row['width']} | {row['people']} | {row['found']:.1f}"
        print(f"| {cells} | {row['plain_ms']:.2f} | {row['edgepose_ms']:.3f} | {row['ratio']:.0f}x |")
    if options.json:
        options.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2))


def measure(
    decode: Callable[..., DecodedPoses], plain: Callable[..., Any], scenes: Sequence[Maps], runs: int
) -> dict[str, float]:
    """Median milliseconds of both decoders, taken in turn over the scenes, their ratio, and how many people were found."""
    ours: list[float] = []
    theirs: list[float] = []
    found = 0
    for turn in range(runs):
        scene = scenes[turn % len(scenes)]
        started = time.perf_counter()
        result = decode(*scene)
        ours.append(time.perf_counter() - started)
        found += len(result.confidence)
        if turn % PLAIN_EVERY == 0:
            scene = scenes[turn // PLAIN_EVERY % len(scenes)]
            started = time.perf_counter()
            plain(*scene)
            theirs.append(time.perf_counter() - started)
    ours_ms, plain_ms = 1000 * float(np.median(ours)), 1000 * float(np.median(theirs))
    return {"found": found / runs, "plain_ms": plain_ms, "edgepose_ms": ours_ms, "ratio": plain_ms / ours_ms}
