"""Frames a second, against the same weights in eager PyTorch with decoding in plain Python.

    python benchmarks/eager.py PHOTOS --checkpoint C --models fp32.xml int8.xml [--width W] [--height H] [--json PATH]

PHOTOS is a folder of photos of people, from which a 720p clip is made, held in memory. C is a Lightweight OpenPose checkpoint
with one refinement stage, and the models are what the converters made of it. They take turns over the same frames, so that
whatever else the machine does meets all alike; figures are medians over the turns. Nothing is drawn. FP32 models compute
in float32, as PyTorch does.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import torch
from fps import MAX_PHOTOS, make_clip

from edgepose.arrays import Image

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from synthetic.plain_decoder import decode

from edgepose.doctor import processor
from edgepose.estimator import PoseEstimator
from edgepose.media.sources import open_source
from edgepose.networks import LightweightOpenPose
from edgepose.networks.checkpoints import load_lightweight_openpose

TURN_FRAMES = 30
MEAN, SCALE, STRIDE = 128, 256, 8  # Lightweight OpenPose's


def eager(network: LightweightOpenPose, height: int) -> Callable[[Sequence[Image]], None]:
    """Resize, pad, normalise, run and decode, one frame after the other."""

    @torch.inference_mode()
    def run(frames: Sequence[Image]) -> None:
        for frame in frames:
            scale = height / frame.shape[0]
            small = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
            right = -small.shape[1] % STRIDE
            padded = cv2.copyMakeBorder(small, 0, 0, 0, right, cv2.BORDER_CONSTANT, value=(0, 0, 0))
            tensor = torch.from_numpy((padded.astype(np.float32) - MEAN) / SCALE).permute(2, 0, 1)[None]
            *_, heatmaps, pafs = network(tensor)
            decode(heatmaps[0].numpy(), pafs[0].numpy())

    return run


def streamed(estimator: PoseEstimator) -> Callable[[Sequence[Image]], None]:
    """The same frames through an estimator."""

    def run(frames: Sequence[Image]) -> None:
        for _ in estimator.stream(frames):
            pass

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="a folder of photos of people")
    parser.add_argument("--checkpoint", type=Path, required=True, metavar="C")
    parser.add_argument("--models", nargs="+", required=True, metavar="M", help="IR made from C")
    parser.add_argument("--width", type=float, default=1.0, help="of the network (default: %(default)s)")
    parser.add_argument("--height", type=int, default=256, help="of the network's input (default: %(default)s)")
    parser.add_argument("--turns", type=int, default=11)
    parser.add_argument("--json", type=Path, help="write the figures")
    options = parser.parse_args()

    network = LightweightOpenPose(1, options.width).eval()
    load_lightweight_openpose(network, options.checkpoint)
    with open_source(options.photos, max_frames=MAX_PHOTOS) as source:
        photos = [frame.image for frame in source]
    with tempfile.TemporaryDirectory() as folder:
        make_clip(photos, Path(folder) / "clip.mp4", TURN_FRAMES * options.turns)
        with open_source(Path(folder) / "clip.mp4") as source:
            clip = [frame.image for frame in source]

    ways = {"PyTorch eager, plain decoder": eager(network, options.height)}
    for model in options.models:
        ways[model] = streamed(PoseEstimator(model, input_size=options.height, precision="f32"))
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way(clip[:5])  # compiles, and fills caches
    for start in range(0, len(clip), TURN_FRAMES):
        frames = clip[start : start + TURN_FRAMES]
        for name, way in ways.items():
            started = time.perf_counter()
            way(frames)
            rates[name].append(len(frames) / (time.perf_counter() - started))

    base, *_ = rates.values()
    rows = [
        {"way": name, "fps": median(many), "times": median(a / b for a, b in zip(many, base, strict=True))}
        for name, many in rates.items()
    ]
    print(f"{processor()}, {os.cpu_count()} cores, 720p frames, input height {options.height}, {options.turns} turns\n")
    print("| way | FPS | times |\n|---|---|---|")
    for row in rows:
        print(f"| {row['way']} | {row['fps']:.1f} | {row['times']:.2f} |")
    if options.json:
        options.json.write_text(json.dumps({"machine": processor(), "height": options.height, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
