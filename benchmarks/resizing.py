"""Milliseconds to scale a frame into the network's input: edgepose's kernel against OpenCV's two bilinear resizes.

    python benchmarks/resizing.py [--turns N]

All take turns within one run; figures are medians.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import cv2
import numpy as np

from edgepose.doctor import processor
from edgepose.kernels.resizing import resize_into

CASES = [((480, 640), (256, 344)), ((720, 1280), (256, 456)), ((720, 1280), (368, 656)), ((1080, 1920), (256, 456))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=200)
    turns = parser.parse_args().turns
    print(f"{processor()}, medians of {turns} turns, milliseconds\n")
    print("| frame | input | OpenCV, linear | OpenCV, exact | edgepose |\n|---|---|---|---|---|")
    for frame, size in CASES:
        coarse = np.random.default_rng(0).integers(0, 256, (frame[0] // 8, frame[1] // 8, 3), np.uint8)
        image = np.asarray(cv2.resize(coarse, frame[::-1], interpolation=cv2.INTER_CUBIC), np.uint8)
        out = np.empty((*size, 3), np.uint8)
        ways: list[Callable[[], Any]] = [
            partial(cv2.resize, image, size[::-1], dst=out, interpolation=cv2.INTER_LINEAR),
            partial(cv2.resize, image, size[::-1], dst=out, interpolation=cv2.INTER_LINEAR_EXACT),
            partial(resize_into, image, out, *size),
        ]
        times: list[list[float]] = [[] for _ in ways]
        for turn in range(turns + 1):
            for way, spent in zip(ways, times, strict=True):
                started = time.perf_counter()
                way()
                if turn:  # the first one compiles
                    spent.append(1000 * (time.perf_counter() - started))
        shapes = " | ".join("x".join(map(str, shape)) for shape in (frame, size))
        print(f"| {shapes} | {' | '.join(f'{median(spent):.2f}' for spent in times)} |")


if __name__ == "__main__":
    main()
