"""COCO AP of a model over input heights and keypoint thresholds, and the least confidence of the people to show.

    python benchmarks/accuracy.py --annotations person_keypoints.json --images DIR [--model M] [--heights 256 368]
        [--min-scores 0.05 0.1 0.2] [--boxes annotations] [--precision f32] [--json PATH]

Single scale, no flip test. AP is of all people whom the model reports. Beside it stands the least confidence of a person that
has the best F1 of people (found at OKS 0.5 against invented), with its precision and recall, and the F1 of the keypoints that
are shown then: of a person who is found, a keypoint is right if its own OKS is at least 0.5; all others shown are wrong, and
all others labelled are missed.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import edgepose
from edgepose.arrays import Float
from edgepose.doctor import processor
from edgepose.evaluation import Evaluation, evaluate
from edgepose.kernels.oks import keypoint_similarity

SIGMAS = np.array(edgepose.COCO17.sigmas, np.float32)
RIGHT_OKS = 0.5


def measure(options: argparse.Namespace, height: int | None, min_score: float) -> dict[str, float]:
    """AP, the best F1 of people, and the F1 of their keypoints at one setting."""
    estimator = edgepose.PoseEstimator(
        options.model, input_size=height, min_score=min_score, min_confidence=0.0, precision=options.precision
    )
    evaluation = evaluate(estimator, options.annotations, options.images, boxes=options.boxes)
    confidence, precision, recall = best_confidence(evaluation)
    return {
        "height": estimator.model.size[0] if height is None else height,
        "min_score": min_score,
        **{name: evaluation.figures[name] for name in ("AP", "AP50", "APm", "APl")},
        "min_confidence": confidence,
        "precision": 100 * precision,
        "recall": 100 * recall,
        "F1": 100 * f1(precision, recall),
        "keypoint F1": 100 * keypoint_f1(evaluation, confidence),
    }


def best_confidence(evaluation: Evaluation) -> tuple[float, float, float]:
    """The least confidence with the best F1 of people, rounded down to hundredths, and its precision and recall."""
    scores = np.array([result["score"] for result, _ in evaluation.found])
    right = np.array([person is not None for _, person in evaluation.found], bool)
    rows = []
    for confidence in np.arange(0, 1, 0.01):
        kept = scores >= confidence
        hits = int((kept & right).sum())
        rows.append((f1(hits / max(kept.sum(), 1), hits / len(evaluation.people)), confidence, hits / max(kept.sum(), 1), hits))
    _, confidence, precision, hits = max(rows)
    return float(confidence), float(precision), hits / len(evaluation.people)


def keypoint_f1(evaluation: Evaluation, confidence: float) -> float:
    """F1 of the keypoints of the people with that confidence at least."""
    shown = hits = 0
    for result, person in evaluation.found:
        if result["score"] < confidence:
            continue
        ours = np.reshape(result["keypoints"], (-1, 3))
        shown += int((ours[:, 2] > 0).sum())
        if person is not None:
            theirs = np.reshape(person["keypoints"], (-1, 3))
            both = (ours[:, 2] > 0) & (theirs[:, 2] > 0)
            hits += int((both & (similarity(ours, theirs, person) >= RIGHT_OKS)).sum())
    return f1(hits / max(shown, 1), hits / sum(person["num_keypoints"] for person in evaluation.people))


def similarity(ours: NDArray[Any], theirs: NDArray[Any], person: dict[str, Any]) -> Float:
    """COCO's keypoint similarity (K,), keypoint by keypoint."""
    reference, found = (np.asarray(points[None, :, :2], np.float32) for points in (theirs, ours))
    area = np.array([max(person["area"], 1e-6)], np.float32)
    return np.asarray(keypoint_similarity(reference, found, area, SIGMAS)[0, 0])


def f1(precision: float, recall: float) -> float:
    """The harmonic mean."""
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotations", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--model", default="default")
    parser.add_argument("--heights", type=int, nargs="+", default=[None], help="default: the model's own")
    parser.add_argument("--min-scores", type=float, nargs="+", default=[0.05, 0.1, 0.15, 0.2, 0.3])
    parser.add_argument("--boxes", choices=("annotations", "detector"), default="detector")
    parser.add_argument("--precision", choices=("f32", "f16", "bf16"))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    print(f"{options.model}, {options.annotations.name}, precision {options.precision or 'of the device'}, {processor()}\n")
    rows: list[dict[str, float]] = []
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
