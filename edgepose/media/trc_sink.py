"""Keypoints as .trc, the marker files of OpenSim, in the layout of Pose2Sim (github.com/perfanalytics/pose2sim).

Pictures have two axes and no metres: X is x and Y is minus y, in pixels, so that people stand upright, and Z is 0. OpenSim
knows no pixels, so the unit says m; scale by the height of the person who is seen. Where a keypoint was not found, its
fields are empty.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgepose.arrays import Float
from edgepose.errors import OutputError
from edgepose.media.files import STDOUT, write_file
from edgepose.media.frames import Frame, Picture, Source
from edgepose.media.outputs import check_file, check_no_picture
from edgepose.poses import Poses
from edgepose.skeleton import Skeleton

_HEAD = ["DataRate", "CameraRate", "NumFrames", "NumMarkers", "Units", "OrigDataRate", "OrigDataStartFrame", "OrigNumFrames"]
FALLBACK_FPS = 30.0  # where neither the source nor the frames' times say


def open_sink(path: str | Path, source: Source, name: str) -> TrcSink:
    """The sink for the markers of `source`."""
    return TrcSink(path, fps=source.fps)


class TrcSink:
    """Markers of people over time. The files are written when it is closed, as their heads say how much is in them.

    Without identities, the best person of each frame goes to the file. With them, each person has a file: the one who is seen
    in most frames that which `path` says, the others `NAME_P2.trc` and so on, with their identities.

    Args:
        path: The file.
        fps: Frames a second, for the head; None: as the frames' times have it.

    Raises:
        OutputError: The file cannot be written, or is standard output.
    """

    def __init__(self, path: str | Path, *, fps: float | None = None) -> None:
        if str(path) == STDOUT:
            raise OutputError("trc may have a file a person; give the name of a file, or another format for standard output")
        self._path, self._fps = Path(path), fps
        check_no_picture(self._path, "markers go to a .trc")
        check_file(self._path)
        self._skeleton: Skeleton | None = None
        self._times: list[tuple[int, float]] = []  # Number and time of every frame.
        self._people: dict[int, list[tuple[int, Float]]] = {}  # By identity: in which frames, and where, (K, 2).

    def write(self, frame: Frame, poses: Poses, picture: Picture | None = None) -> None:
        """Note the people of `frame`; no picture is needed."""
        self._skeleton = poses.skeleton
        row = len(self._times)
        self._times.append((frame.index, frame.timestamp))
        if poses.ids is None:
            people = [(1, poses.keypoints[0])] if len(poses) else []
        else:
            people = list(zip(poses.ids.tolist(), poses.keypoints, strict=True))
        for number, keypoints in people:
            self._people.setdefault(number, []).append((row, np.array(keypoints)))

    def close(self) -> None:
        """Write the files; closing twice does no harm."""
        if self._skeleton is None:
            return
        skeleton, self._skeleton = self._skeleton, None
        most_seen = sorted(self._people, key=lambda number: (-len(self._people[number]), number)) or [1]
        for number in most_seen:
            own = number == most_seen[0]
            path = self._path if own else self._path.with_name(f"{self._path.stem}_P{number}{self._path.suffix}")
            write_file(path, self._markers(path.name, skeleton, self._people.get(number, [])).encode("ascii", "replace"))

    def _markers(self, name: str, skeleton: Skeleton, seen: list[tuple[int, Float]]) -> str:
        """The file of one person, from the first frame with them to the last."""
        first, last = (seen[0][0], seen[-1][0]) if seen else (0, -1)
        places = dict(seen)
        names, rate = [marker_name(keypoint) for keypoint in skeleton.keypoints], f"{self._rate():g}"
        count = last - first + 1
        head = [
            ["PathFileType", "4", "(X/Y/Z)", name],
            _HEAD,
            [rate, rate, str(count), str(len(names)), "m", rate, str(self._times[first][0] if seen else 0), str(count)],
            ["Frame#", "Time", *(cell for marker in names for cell in (marker, "", ""))],
            ["", "", *(f"{axis}{i}" for i in range(1, len(names) + 1) for axis in "XYZ")],
        ]
        nobody = np.full((len(names), 2), np.nan, np.float32)
        body = []
        for row in range(first, last + 1):
            cells = [str(row - first + 1), f"{self._time(row):.6f}"]
            for x, y in places.get(row, nobody).tolist():
                cells += [f"{x:.3f}", f"{-y:.3f}", "0"] if x == x else ["", "", ""]
            body.append(cells)
        return "".join("\t".join(cells) + "\n" for cells in [*head, *body])

    def _rate(self) -> float:
        """Frames a second."""
        if self._fps:
            return self._fps
        (_, start), (_, end) = self._times[0], self._times[-1]
        return round((len(self._times) - 1) / (end - start), 3) if end > start else FALLBACK_FPS

    def _time(self, row: int) -> float:
        """Seconds of a frame; pictures, which have no clock, come at the rate of the head."""
        has_clock = self._times[-1][1] > self._times[0][1]
        return self._times[row][1] if has_clock else row / self._rate()


def marker_name(keypoint: str) -> str:
    """A keypoint's name as Pose2Sim's models have it: "r_big_toe" is RBigToe."""
    words = keypoint.replace("left_", "l_", 1).replace("right_", "r_", 1).replace("\t", " ").replace("_", " ").split()
    return "".join(word[:1].upper() + word[1:] for word in words)
