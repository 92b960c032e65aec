"""End-to-end frames a second against the bare network's, over a 720p clip made of photos that are panned and zoomed.

    python benchmarks/fps.py PHOTOS [--models M ...] [--height H] [--frames N] [--json PATH]

PHOTOS is a folder of photos of people. Both hints are measured: "latency" (one picture at a time) and "throughput". Besides
the table of each stage it prints what a single frame costs over the bare network.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path

import cv2
import numpy as np

from edgepose.arrays import Image
from edgepose.benchmark import Benchmark, benchmark
from edgepose.cli.tables import benchmark_table
from edgepose.estimator import PoseEstimator
from edgepose.media.sources import open_source

WIDTH, HEIGHT, FPS = 1280, 720, 30
FRAMES_OF_A_PHOTO = 60
MAX_PHOTOS = 20


def make_clip(photos: list[Image], path: Path, frames: int) -> None:
    """Write a video in which each photo is panned over and zoomed into for two seconds."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FPS, (WIDTH, HEIGHT))
    for index in range(frames):
        photo = photos[index // FRAMES_OF_A_PHOTO % len(photos)]
        passed = index % FRAMES_OF_A_PHOTO / FRAMES_OF_A_PHOTO
        height, width = photo.shape[:2]
        zoom = max(WIDTH / width, HEIGHT / height) * (1 + 0.3 * passed)
        x = width / 2 + (width - WIDTH / zoom) * (passed - 0.5) * 0.9
        matrix = np.array([[zoom, 0, WIDTH / 2 - x * zoom], [0, zoom, (HEIGHT - height * zoom) / 2]])
        writer.write(cv2.warpAffine(photo, matrix, (WIDTH, HEIGHT)))
    writer.release()


def overhead(figures: Benchmark) -> float:
    """The median time of a single frame beyond its network, for pre-processing and decoding, as a part of the network's."""
    median = {stage: float(np.median(times)) for stage, times in figures.stages.items()}
    return (median["pre"] + median["decode"]) / median["network"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="a folder of photos of people")
    parser.add_argument("--models", nargs="+", default=["default"], metavar="M")
    parser.add_argument("--height", type=int, default=256, help="of the network's input (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=600, help="of the clip, and to measure (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures")
    options = parser.parse_args()
    with open_source(options.photos, max_frames=MAX_PHOTOS) as source:
        photos = [frame.image for frame in source]
    reports = []
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        make_clip(photos, clip, options.frames)
        for hint in ("latency", "throughput"):
            estimators = [PoseEstimator(model, input_size=options.height, hint=hint) for model in options.models]
            figures = [benchmark(estimator, clip, frames=options.frames) for estimator in estimators]
            print(f"\nhint {hint}\n{benchmark_table(figures)}")
            for each in figures:
                print(f"{each.model}: a single frame takes {100 * overhead(each):.1f} % longer than its network")
                reports.append({"hint": hint, "single_frame_overhead": overhead(each), **each.to_dict()})
    if hasattr(os, "getloadavg"):
        print(f"load of the machine in the last minute: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    if options.json:
        options.json.write_text(json.dumps(reports, indent=2) + "\n")


if __name__ == "__main__":
    main()
