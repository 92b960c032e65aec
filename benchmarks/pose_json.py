"""People as JSON: `edgepose.server.pose_json` against `json.dumps` of plain lists, milliseconds a frame.

    python benchmarks/pose_json.py [--runs 200] [--json PATH]

The two take turns; medians, and the median of the ratios of the turns.
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

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from synthetic.scenes import place_people

from edgepose.doctor import processor
from edgepose.poses import Poses
from edgepose.server.pose_json import poses_json, warm_up


def people(count: int) -> Poses:
    """So many people on a picture of 720p, a fifth of whose keypoints are missing."""
    rng = np.random.default_rng(count)
    keypoints = place_people(rng, count, 90, 160) * np.float32(8)
    scores = rng.uniform(0.3, 1, (count, 18)).astype(np.float32)
    scores[rng.random((count, 18)) < 0.2] = 0
    keypoints[scores == 0] = np.nan
    return Poses(keypoints, scores, rng.random(count).astype(np.float32))


def milliseconds(make: Callable[[Poses], str], poses: Poses) -> float:
    started = time.perf_counter()
    make(poses)
    return 1000 * (time.perf_counter() - started)


def plain(poses: Poses) -> str:
    return json.dumps(poses.to_dict(), separators=(",", ":"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    warm_up()
    print(f"{processor()}\n\n| people | lists, ms | digits, ms | ratio |\n|---|---|---|---|")
    report = {}
    for count in (1, 5, 20):
        poses = people(count)
        turns = [(milliseconds(plain, poses), milliseconds(poses_json, poses)) for _ in range(options.runs)]
        slow, fast = (statistics.median(column) for column in zip(*turns, strict=True))
        ratio = statistics.median(a / b for a, b in turns)
        report[count] = {"lists_ms": slow, "digits_ms": fast, "ratio": ratio}
        print(f"| {count} | {slow:.3f} | {fast:.3f} | {ratio:.1f} |")
    if options.json:
        options.json.write_text(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
