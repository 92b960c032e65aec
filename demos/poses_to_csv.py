"""Poses as a table for a spreadsheet: `python demos/poses_to_csv.py SOURCE [POSES.csv]`, to standard output without a name.

A line for each keypoint that was found: frame, seconds, file, person (the same number as long as somebody stays in a video),
keypoint, x and y in pixels, score. SOURCE is a photo, a folder, a video, a camera number, or an rtsp:// or http:// URL.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import chain
from pathlib import Path

import numpy as np

import edgepose

COLUMNS = ("frame", "seconds", "file", "person", "keypoint", "x", "y", "score")


def rows(frame: edgepose.EstimatedFrame) -> Iterator[tuple[object, ...]]:
    """The lines of a frame: of N people with K keypoints, those keypoints that were found."""
    poses = frame.poses
    ids = range(1, len(poses) + 1) if poses.ids is None else poses.ids.tolist()
    for n, k in np.argwhere(poses.scores > 0):
        x, y = poses.keypoints[n, k]
        place = (f"{x:.2f}", f"{y:.2f}", f"{poses.scores[n, k]:.4f}")
        yield (frame.index, f"{frame.timestamp:.3f}", frame.path, ids[n], poses.skeleton.keypoints[k], *place)


def main(source: str, path: str | None = None) -> int:
    try:
        with edgepose.open_source(source) as opened:  # A video, or one of the photos, must not become its table.
            if path is not None and Path(path).exists() and any(Path(path).samefile(file) for file in opened.files):
                raise edgepose.OutputError(f"{path}: is the source itself; give another name")
        # The photos of a folder have nothing to do with each other: nobody walks from one into the next.
        frames = edgepose.PoseEstimator().stream(source, track=not Path(source).is_dir())
        first = next(frames, None)  # Before the file is touched: the source may be none.
        # Python writes the line ends by itself that CSV asks for, hence newline="".
        with nullcontext(sys.stdout) if path is None else open(path, "w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(COLUMNS)
            for frame in () if first is None else chain([first], frames):
                table.writerows(rows(frame))
    except (edgepose.EdgePoseError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # What was found so far is in the file.
        pass
    return 0


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 3:
        sys.exit("usage: python demos/poses_to_csv.py SOURCE [POSES.csv]")
    sys.exit(main(*sys.argv[1:]))
