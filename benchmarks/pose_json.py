"""The message that viewers of `edgepose serve` get for each frame, as JSON: milliseconds a frame.

    python benchmarks/pose_json.py [--runs 200] [--json PATH]

`People.json`, which lets orjson write arrays, takes turns with orjson and with Python's `json` on the lists of `Poses.to_dict`.
Medians, and medians of the ratios of the turns. All three are checked to say the same.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from synthetic.scenes import place_people

from edgepose.doctor import processor
from edgepose.estimator import EstimatedFrame
from edgepose.poses import Poses
from edgepose.server.results import People

FACTS = {"fps": 24.97, "dropped": 3}
IMAGE = np.zeros((720, 1280, 3), np.uint8)


def frame(count: int) -> EstimatedFrame:
    """A frame of 720p with so many people, a fifth of whose keypoints are missing."""
    rng = np.random.default_rng(count)
    keypoints = place_people(rng, count, 90, 160) * np.float32(8)
    scores = rng.uniform(0.3, 1, (count, 18)).astype(np.float32)
    scores[rng.random((count, 18)) < 0.2] = 0
    keypoints[scores == 0] = np.nan
    return EstimatedFrame(IMAGE, 1234, 49.36, "videos/clip.mp4", Poses(keypoints, scores, rng.random(count).astype(np.float32)))


def arrays(frame: EstimatedFrame) -> bytes:
    return People(1, frame, FACTS).json()


def lists(frame: EstimatedFrame) -> dict[str, object]:
    image = {"path": Path(frame.path).name, "width": frame.image.shape[1], "height": frame.image.shape[0]}
    return {"frame": frame.index, "timestamp": frame.timestamp, "image": image, **frame.poses.to_dict(), **FACTS}


def orjson_lists(frame: EstimatedFrame) -> bytes:
    return orjson.dumps(lists(frame))


def python_lists(frame: EstimatedFrame) -> bytes:
    return json.dumps(lists(frame), separators=(",", ":")).encode()


def milliseconds(make: Callable[[EstimatedFrame], bytes], frame: EstimatedFrame) -> float:
    started = time.perf_counter()
    make(frame)
    return 1000 * (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    ways = {"orjson, arrays": arrays, "orjson, lists": orjson_lists, "json, lists": python_lists}
    print(f"{processor()}\n\n| people | {' | '.join(f'{name}, ms' for name in ways)} | ratios to the first |")
    print("|---|---|---|---|---|")
    report = {}
    for count in (1, 5, 20):
        made = frame(count)
        if not json.loads(arrays(made)) == json.loads(orjson_lists(made)) == json.loads(python_lists(made)):
            raise SystemExit("the three do not say the same")
        turns = [[milliseconds(make, made) for make in ways.values()] for _ in range(options.runs)]
        medians = [statistics.median(column) for column in zip(*turns, strict=True)]
        ratios = [statistics.median(turn[i] / turn[0] for turn in turns) for i in range(len(ways))]
        report[count] = {"ms": dict(zip(ways, medians, strict=True)), "ratios": dict(zip(ways, ratios, strict=True))}
        print(f"| {count} | {' | '.join(f'{each:.3f}' for each in medians)} | {', '.join(f'{each:.1f}' for each in ratios)} |")
    if options.json:
        options.json.write_text(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
