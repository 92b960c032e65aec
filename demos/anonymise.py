"""Faces blurred in a saved video or photo: `python demos/anonymise.py SOURCE OUTPUT`, such as street.mp4 blurred.mp4.

Heads are found by their keypoints and their size by what is certain of it: eyes, ears, shoulders. Times, shape and sound stay.
It misses faces that no person was found for: small, half hidden, at the picture's edge, mirrored, on posters and screens. And
clothes, gait and voice tell who somebody is, too (`--no-audio`). Look through what it writes before you show it to anybody.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import closing

import cv2
import numpy as np
from numpy.typing import NDArray

import edgepose

# Below what people are usually taken to be: a blur too many hurts less than a face too many.
LEAST_CONFIDENCE, LEAST_SCORE = 0.05, 0.02
CELLS = 6  # A face is left with so many cells to each side, and nobody can be told by them.
HOLD_S = 0.5  # Whoever is not found in a frame stays blurred where they were for so long.
# The radius of a circle around a face, from chin to hair, over the distance between two keypoints. A face is about 0.24 m high,
# eyes are 0.06 m apart, ears 0.15, shoulder joints 0.35, and shoulders are 0.5 above hips. Most distances are foreshortened, so
# that the largest circle is the right one.
RADII = (
    ("l_eye", "r_eye", 2.4), ("l_ear", "r_ear", 1.0), ("nose", "l_ear", 1.3), ("nose", "r_ear", 1.3),
    ("nose", "l_eye", 3.0), ("nose", "r_eye", 3.0), ("nose", "l_shoulder", 0.5), ("nose", "r_shoulder", 0.5),
    ("l_shoulder", "r_shoulder", 0.45), ("l_shoulder", "l_hip", 0.3), ("r_shoulder", "r_hip", 0.3),
)  # fmt: skip


def heads(poses: edgepose.Poses) -> NDArray[np.float32]:
    """(N, 3) x, y of the middle and the radius of each head in pixels; NaN where nothing tells where it is or how large."""
    poses = poses.to(edgepose.COCO17)
    head = poses.keypoints[:, :5]  # (N, 5, 2) nose, eyes, ears
    middle = (np.fmin.reduce(head, axis=1) + np.fmax.reduce(head, axis=1)) / 2
    distances = [np.hypot(*(poses.keypoint(a) - poses.keypoint(b)).T) * factor for a, b, factor in RADII]
    radius = np.fmax.reduce(np.stack(distances))
    # Seen from behind, or with the face missed, a head is above the middle of the shoulders.
    shoulders = (poses.keypoint("l_shoulder") + poses.keypoint("r_shoulder")) / 2
    up = shoulders - (poses.keypoint("l_hip") + poses.keypoint("r_hip")) / 2
    length = np.hypot(*up.T)[:, None]
    up = np.where(length > 0, up / np.maximum(length, 1), np.array([0, -1]))
    radius = np.where(np.isnan(middle[:, 0]), 1.2 * radius, radius)  # It is less certain where.
    above = shoulders + up * radius[:, None]
    return np.column_stack([np.where(np.isnan(middle), above, middle), radius]).astype(np.float32)


def blur(image: NDArray[np.uint8], x: float, y: float, radius: float) -> None:
    """Blur a circle of `image` (H, W, 3), in place, so that nothing can bring back what was there."""
    height, width = image.shape[:2]
    radius = min(max(radius, 4.0), 2.0 * max(height, width))
    x0, x1 = (int(np.clip(edge, 0, width)) for edge in (x - radius, x + radius + 1))
    y0, y1 = (int(np.clip(edge, 0, height)) for edge in (y - radius, y + radius + 1))
    if x0 >= x1 or y0 >= y1:
        return
    region = image[y0:y1, x0:x1]
    few = cv2.resize(region, (CELLS, CELLS), interpolation=cv2.INTER_AREA)
    rows, columns = np.ogrid[y0:y1, x0:x1]
    inside = (columns - x) ** 2 + (rows - y) ** 2 <= radius**2
    region[inside] = cv2.resize(few, (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR)[inside]


class Heads:
    """The heads to blur in each frame: those that are found, and those that were a moment ago."""

    def __init__(self) -> None:
        self._last: dict[int, tuple[float, NDArray[np.float32]]] = {}

    def __call__(self, poses: edgepose.Poses, now: float) -> NDArray[np.float32]:
        """(M, 3) x, y and radius in pixels. Of photos, which have no identities, those that are found."""
        found = heads(poses)
        known = ~np.isnan(found).any(axis=1)
        if poses.ids is None:
            return found[known]
        self._last |= {person: (now, head) for person, head in zip(poses.ids[known].tolist(), found[known], strict=True)}
        self._last = {person: last for person, last in self._last.items() if now - last[0] <= HOLD_S}
        return np.array([head for _, head in self._last.values()], np.float32).reshape(-1, 3)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", metavar="SOURCE")
    parser.add_argument("output", metavar="OUTPUT", help="a video, a picture, or a folder of pictures")
    parser.add_argument(
        "--model", default="default", help="see `edgepose models list`; accurate misses less (default: %(default)s)"
    )
    parser.add_argument("--no-audio", action="store_true", help="leave the sound out")
    options = parser.parse_args(arguments)
    frames = blurred = unknown = 0
    remembered = Heads()
    try:
        with edgepose.open_source(options.source) as source:
            estimator = edgepose.PoseEstimator(options.model, min_confidence=LEAST_CONFIDENCE, min_score=LEAST_SCORE)
            with (
                edgepose.open_sinks(source, save=options.output, audio=not options.no_audio) as sinks,
                closing(estimator.stream(source, track=source.is_timed)) as stream,
            ):
                for frame in stream:
                    image = frame.image.copy()
                    for x, y, radius in remembered(frame.poses, frame.timestamp).tolist():
                        blur(image, x, y, radius)
                        blurred += 1
                    frames += 1
                    unknown += int(np.isnan(heads(frame.poses)).any(axis=1).sum())
                    sinks.write(frame, frame.poses, lambda image=image: image)  # type: ignore[misc]
            for place, reason in source.skipped:
                print(f"{place}: left out: {reason}", file=sys.stderr)
    except edgepose.EdgePoseError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    print(f"{frames} frames, {blurred} heads blurred; of {unknown} people nothing told where the head is")
    return 0


if __name__ == "__main__":
    sys.exit(main())
