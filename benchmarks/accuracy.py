"""COCO AP of a model over input heights and keypoint thresholds: what the defaults are chosen by.

    python benchmarks/accuracy.py --annotations person_keypoints.json --images DIR [--model M] [--heights 256 368]
        [--min-scores 0.03 0.05 0.1] [--precision f32] [--json PATH]

Single scale, no flip test. Beside AP stand the people reported a photo: a lower threshold finds more people, and more that
are not there.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import edgepose
from edgepose.doctor import processor
from edgepose.evaluation import evaluate


def measure(options: argparse.Namespace, height: int, min_score: float) -> dict[str, float]:
    """AP and people a photo at one setting."""
    estimator = edgepose.PoseEstimator(options.model, input_size=height, min_score=min_score, precision=options.precision)
    people = 0

    def estimate(image: NDArray[np.uint8]) -> edgepose.Poses:
        nonlocal people
        poses = estimator(image)
        people += len(poses)
        return poses

    evaluation = evaluate(estimate, options.annotations, options.images)
    figures = {name: evaluation.figures[name] for name in ("AP", "AP50", "APm", "APl", "AR")}
    return {"height": height, "min_score": min_score, **figures, "people": people / evaluation.images}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotations", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--model", default="default")
    parser.add_argument("--heights", type=int, nargs="+", default=[256, 320, 368])
    parser.add_argument("--min-scores", type=float, nargs="+", default=[0.03, 0.05, 0.1])
    parser.add_argument("--precision", choices=("f32", "f16", "bf16"))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    print(f"{options.model}, {options.annotations.name}, precision {options.precision or 'of the device'}, {processor()}\n")
    rows = []
    for height in options.heights:
        for min_score in options.min_scores:
            row = measure(options, height, min_score)
            if not rows:
                print(f"| {' | '.join(row)} |\n|{'---|' * len(row)}")
            rows.append(row)
            print(f"| {' | '.join(f'{value:.4g}' for value in row.values())} |", flush=True)
    if options.json:
        options.json.write_text(json.dumps({"model": options.model, "machine": processor(), "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
