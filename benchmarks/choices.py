"""Milliseconds of the models that a user chooses by name, on 720p frames with one and with five people.

    python benchmarks/choices.py [--models fast default accurate] [--heights 192 256] [--turns 40] [--precision f32]
        [--json PATH]

The frames are made of scikit-image's portrait of an astronaut, side by side. Reading and drawing are not counted. All settings
run in turns; printed are medians, and how many people were found.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import cv2
import numpy as np

import edgepose
from edgepose.arrays import Image
from edgepose.doctor import processor
from edgepose.media.images import sample_photo

HEIGHT, WIDTH = 720, 1280
PEOPLE = (1, 5)
WARM_UP = 5  # calls before the first that counts


def frame_of(people: int) -> Image:
    """A 720p frame with so many astronauts in a row, on grey."""
    frame = np.full((HEIGHT, WIDTH, 3), 114, np.uint8)
    side = min(HEIGHT, WIDTH // people)
    portrait = cv2.resize(sample_photo("demo"), (side, side), interpolation=cv2.INTER_AREA)
    for index in range(people):
        left = (WIDTH - people * side) // 2 + index * side
        frame[HEIGHT - side :, left : left + side] = portrait
    return frame


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["fast", "default", "accurate"])
    parser.add_argument("--heights", type=int, nargs="+", default=[None], help="of the input; default: the model's own")
    parser.add_argument("--turns", type=int, default=40)
    parser.add_argument("--precision", choices=("f32", "f16", "bf16"))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    frames = {people: frame_of(people) for people in PEOPLE}
    estimators = {
        (model, height): edgepose.PoseEstimator(model, input_size=height, precision=options.precision)
        for model in options.models
        for height in options.heights
    }
    times: dict[tuple[str, int | None, int], list[float]] = {}
    found: dict[tuple[str, int | None, int], int] = {}
    for turn in range(WARM_UP + options.turns):
        for (model, height), estimator in estimators.items():
            for people, frame in frames.items():
                started = time.perf_counter()
                poses = estimator(frame)
                if turn >= WARM_UP:
                    times.setdefault((model, height, people), []).append((time.perf_counter() - started) * 1000)
                found[model, height, people] = len(poses)
    print(f"{processor()}, precision {options.precision or 'of the device'}, medians of {options.turns} turns, {HEIGHT}p\n")
    print("| model | height | people | found | ms |\n|---|---|---|---|---|")
    rows = []
    for (model, height, people), samples in times.items():
        shown = estimators[model, height].model.size[0] if height is None else height
        row = {"model": model, "height": shown, "people": people, "found": found[model, height, people]}
        rows.append({**row, "ms": statistics.median(samples)})
        print(f"| {model} | {shown} | {people} | {row['found']} | {rows[-1]['ms']:.1f} |")
    if options.json:
        options.json.write_text(json.dumps({"machine": processor(), "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
