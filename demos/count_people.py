"""How many people are there? `python demos/count_people.py SOURCE` prints a line whenever their number changes.

SOURCE is a photo, a folder, a video, a camera number, picamera, or an rtsp:// or http:// URL. What to copy from here: whom to
count, and a count that does not flicker.
"""

from __future__ import annotations

import sys
from collections import Counter, deque

import numpy as np

import edgepose

# Whoever has less of either is more often a coat stand than a person. Lower both to count the far and the half hidden.
LEAST_CONFIDENCE = 0.2
LEAST_KEYPOINTS = 5
# The number that most of so many frames agree on: one frame that misses somebody changes nothing.
FRAMES = 9


def count(poses: edgepose.Poses) -> int:
    """How many of the N people found are certain enough to be counted."""
    certain = (poses.confidence >= LEAST_CONFIDENCE) & ((poses.scores > 0).sum(axis=1) >= LEAST_KEYPOINTS)  # (N,)
    return int(np.count_nonzero(certain))


def main(source: str = "0") -> int:
    recent: deque[int] = deque(maxlen=FRAMES)
    shown: int | None = None
    picture = ""
    try:
        for frame in edgepose.PoseEstimator().stream(source):
            if frame.path != picture:  # Another photo of a folder: the one before says nothing about it.
                picture = frame.path
                recent.clear()
                shown = None
            recent.append(count(frame.poses))
            number = Counter(recent).most_common(1)[0][0]
            if number != shown:
                print(f"{frame.path} {frame.timestamp:.2f} s: {number} people", flush=True)
                shown = number
    except edgepose.EdgePoseError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
