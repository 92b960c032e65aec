"""Counts people who cross a line: `python demos/line_counter.py SOURCE` prints a line for each of them, and the counts.

SOURCE is a video, a camera number, picamera, or an rtsp:// or http:// URL. `--line` goes from one point to another, in parts
of the picture's width and height; "in" is from the left of it to the right, as seen by one who goes along it.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import edgepose

PART = "hip"  # What has to cross: draw the line where hips pass. "ankle" for a line on the floor, if feet can be seen.
MARGIN = 0.02  # Of the picture's shorter side. Who sways on the line has not crossed it before being so far on its other side.
FORGET_S = 10.0  # Who was not seen for so long has left; the tracker gives up sooner.


@dataclass
class _Seen:
    """The places of a person: in the last frame, and when last clear of the line."""

    time: float
    place: NDArray[np.float32]  # (2,)
    clear: NDArray[np.float32] | None = None  # (2,)


class LineCounter:
    """Counts the people who cross the line from `start` to `end`, (x, y) in pixels, between its ends.

    Args:
        margin: How far beyond the line one has to be, in pixels.

    Attributes:
        into, out: How many crossed from the left to the right, and back.
    """

    def __init__(self, start: tuple[float, float], end: tuple[float, float], margin: float) -> None:
        self.start, self.margin = np.array(start, np.float32), margin
        way = np.array(end, np.float32) - self.start
        self.length = float(np.hypot(*way))
        self.along = way / self.length  # (2,) along the line
        self.right = np.array([-self.along[1], self.along[0]])  # (2,) to its right: y is downwards
        self.into = self.out = 0
        self._seen: dict[int, _Seen] = {}

    def __call__(self, places: dict[int, NDArray[np.float32]], now: float) -> dict[int, str]:
        """The people who cross with this frame, each "in" or "out".

        Args:
            places: (2,) x, y in pixels of each person, by identity; those who are not seen are left out.
            now: Seconds.
        """
        before = {person: self._seen[person].place for person in places if person in self._seen}
        crossings = {}
        for person, place in places.items():
            seen = self._seen.setdefault(person, _Seen(now, place))
            seen.time, seen.place = now, place
            side = float((place - self.start) @ self.right)
            if abs(side) < self.margin:
                continue
            was = 0.0 if seen.clear is None else float((seen.clear - self.start) @ self.right)
            if was * side < 0 and seen.clear is not None and not self._swapped(person, places, before):
                point = seen.clear + (place - seen.clear) * (was / (was - side))  # Where the line was crossed.
                if 0 <= (point - self.start) @ self.along <= self.length:
                    crossings[person] = "in" if side > 0 else "out"
            seen.clear = place
        self.into += sum(way == "in" for way in crossings.values())
        self.out += len(crossings) - sum(way == "in" for way in crossings.values())
        self._seen = {person: seen for person, seen in self._seen.items() if now - seen.time <= FORGET_S}
        return crossings

    @staticmethod
    def _swapped(person: int, places: dict[int, NDArray[np.float32]], before: dict[int, NDArray[np.float32]]) -> bool:
        """Whether `person` and another have changed places since the frame before, which identities do and people do not."""

        def nearer(one: int, other: int) -> bool:
            return bool(np.hypot(*(places[one] - before[other])) < np.hypot(*(places[one] - before[one])))

        return any(nearer(person, other) and nearer(other, person) for other in before if other != person and person in before)


def places(poses: edgepose.Poses) -> dict[int, NDArray[np.float32]]:
    """The place of each person, (2,) in pixels: the middle between left and right, or the one that was found."""
    assert poses.ids is not None
    sides = np.stack([poses.keypoint(f"l_{PART}"), poses.keypoint(f"r_{PART}")])
    middle = (np.fmin.reduce(sides) + np.fmax.reduce(sides)) / 2  # (N, 2); fmin and fmax pass over NaN.
    return {person: place for person, place in zip(poses.ids.tolist(), middle, strict=True) if not np.isnan(place).any()}


def line(text: str) -> tuple[float, float, float, float]:
    """The four numbers of `--line`."""
    try:
        x0, y0, x1, y1 = map(float, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}; expected four numbers, such as 0.5,1,0.5,0") from None
    if not all(0 <= value <= 1 for value in (x0, y0, x1, y1)) or (x0, y0) == (x1, y1):
        raise argparse.ArgumentTypeError(f"{text!r}; expected two different points with x and y in 0 to 1")
    return x0, y0, x1, y1


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", metavar="SOURCE")
    parser.add_argument("--line", type=line, default=line("0.5,1,0.5,0"), metavar="X0,Y0,X1,Y1", help="default: 0.5,1,0.5,0")
    options = parser.parse_args(arguments)
    counter: LineCounter | None = None
    try:
        with edgepose.open_source(options.source) as source:
            if not source.is_timed:
                raise edgepose.SourceError(f"{source.name}: pictures; expected a camera, a stream or a video")
            for frame in edgepose.PoseEstimator().stream(source, track=True):
                if counter is None:
                    height, width = frame.image.shape[:2]
                    x0, y0, x1, y1 = options.line
                    ends = (x0 * width, y0 * height), (x1 * width, y1 * height)
                    counter = LineCounter(*ends, MARGIN * min(height, width))
                for person, way in counter(places(frame.poses), frame.timestamp).items():
                    counts = f"{counter.into} in, {counter.out} out"
                    print(f"{frame.path} {frame.timestamp:.2f} s: person {person} goes {way}; {counts}", flush=True)
    except edgepose.EdgePoseError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    print(f"{counter.into if counter else 0} in, {counter.out if counter else 0} out")
    return 0


if __name__ == "__main__":
    sys.exit(main())
