"""Keypoints in COCO's formats: a whole data set, which labelling tools import, or the list of results for its evaluation."""

from __future__ import annotations

import io
import json
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from math import isfinite
from pathlib import Path
from typing import Any

from edgepose.errors import OutputError
from edgepose.media.files import (
    STDOUT,
    Arrival,
    JsonList,
    open_straight,
    report_leftovers,
    to_json,
    unwritable,
    written_straight,
)
from edgepose.media.frames import Frame, Picture, Source
from edgepose.media.naming import ImageNames
from edgepose.media.outputs import check_file, check_no_picture
from edgepose.poses import Poses
from edgepose.skeleton import COCO17

_CATEGORY = {
    "id": 1,
    "name": "person",
    "supercategory": "person",
    "keypoints": [re.sub("^[lr]_", lambda side: {"l_": "left_", "r_": "right_"}[side[0]], name) for name in COCO17.keypoints],
    "skeleton": [[a + 1, b + 1] for a, b in COCO17.limbs],  # COCO counts from 1.
}


def open_sink(path: str | Path, source: Source, name: str) -> CocoSink | CocoResultsSink:
    """The sink for keypoints of `source` as a data set (`name` is "coco") or as a list of results ("coco-results")."""
    names = ImageNames(source)
    return CocoSink(path, names) if name == "coco" else CocoResultsSink(path, names)


class CocoResultsSink:
    """The list of results that COCO's evaluation reads. After every `write` it is complete, beside its place.

    Args:
        path: The file, or "-" for standard output.
        names: Numbers the images.

    Raises:
        OutputError: The file cannot be written, or has the suffix of an image or video.
    """

    def __init__(self, path: str | Path, names: ImageNames | None = None) -> None:
        _check(path)
        self._names = names or ImageNames()
        self._file = JsonList(path)
        self._has_frames = False

    def write(self, frame: Frame, poses: Poses, picture: Picture | None = None) -> None:
        """Write the people of `frame`; no picture is needed."""
        self._file.start()
        self._has_frames = True
        for result in poses.to_coco(self._names(frame)[1]):
            self._file.append(result)

    def close(self) -> None:
        """Finish the file; closing twice does no harm."""
        self._file.close()

    def __enter__(self) -> CocoResultsSink:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self._file.close(keep=error is None or self._has_frames)


class CocoSink:
    """A COCO data set: info, licenses, images, annotations of 17 keypoints and a box a person, and the category.

    What comes is kept in a file of JSON Lines beside its place, so that memory stays flat and nothing is lost with the process.
    The data set is made of it when it is closed, and takes the place of an older one.

    Args:
        path: The file, or "-" for standard output.
        names: Names and numbers the images.

    Raises:
        OutputError: The file cannot be written, or has the suffix of an image or video. What was found so far is then kept.
    """

    def __init__(self, path: str | Path, names: ImageNames | None = None) -> None:
        _check(path)
        self._path, self._names = Path(path), names or ImageNames()
        self._annotations = self._end = 0  # How many there are, and where the last line ends.
        self._image = 0  # The last one's number.
        self._lines: io.FileIO | None = None
        self._closed = False
        self._arrival = Arrival(Path(os.path.realpath(path)))
        try:
            is_straight = str(path) == STDOUT or written_straight(self._path)
            self._out = open_straight(self._path) if is_straight else None
        except OSError as error:
            raise unwritable(self._path, error) from None
        if self._out is None:
            report_leftovers(self._arrival)

    def write(self, frame: Frame, poses: Poses, picture: Picture | None = None) -> None:
        """Keep the people of `frame`; no picture is needed."""
        name, number = self._names(frame)
        height, width = frame.image.shape[:2]
        image = {"id": number, "file_name": name, "width": width, "height": height}
        people = list(_annotations(poses, number, self._annotations + 1))
        data = to_json([image if number != self._image else None, people]) + b"\n"
        try:
            self._lines = self._lines or self._open()
            _write(self._lines, data)
        except OSError as error:
            if self._lines is not None:
                self._lines.truncate(self._end)  # Whole lines alone.
            raise unwritable(self._path, error) from None
        self._end += len(data)
        self._annotations += len(people)
        self._image = number

    def close(self, *, keep: bool = True) -> None:
        """Write the data set; closing twice does no harm.

        Args:
            keep: Otherwise, leave what was there before as it is, and nothing else.
        """
        if self._closed:
            return
        self._closed = True
        try:
            if not keep:
                self._arrival.discard()
            elif self._out is None:
                self._replace()
            else:
                for piece in self._pieces():
                    _write(self._out, piece)
        except BrokenPipeError:
            raise  # The reader has enough; no fault of the file's.
        except OSError as error:
            self._arrival.release()
            kept = "" if self._lines is None or self._out is not None else f"; what was found is kept in {self._arrival.part}"
            raise OutputError(f"{unwritable(self._path, error)}{kept}") from None
        finally:
            for file in (self._lines, self._out):
                if file is not None:
                    file.close()

    def _replace(self) -> None:
        """Write the data set beside its place, and move it there."""
        final = Arrival(self._arrival.place)
        try:
            final.prepare()
            with open(final.part, "xb") as file:
                file.writelines(self._pieces())
            final.arrive()
        finally:
            final.discard()  # It is not there any more if all went well.
        self._arrival.discard()

    def __enter__(self) -> CocoSink:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self.close(keep=error is None or self._end > 0)

    def _open(self) -> io.FileIO:
        if self._out is not None:
            file, name = tempfile.mkstemp(suffix=".jsonl")
            with suppress(OSError):  # It goes with the process; where it cannot, it stays in the folder for such files.
                os.unlink(name)
            return io.FileIO(file, "r+")
        self._arrival.prepare()
        lines = io.FileIO(self._arrival.part, "x+")
        self._arrival.hold()
        return lines

    def _pieces(self) -> Iterator[bytes]:
        """The data set, in pieces."""
        head = {"info": _info(), "licenses": []}
        yield to_json(head)[:-1] + b',"images":['
        separator = b"\n"
        for image, _ in self._kept():
            if image is not None:
                yield separator + to_json(image)
                separator = b",\n"
        yield b'\n],"annotations":['
        separator = b"\n"
        for _, people in self._kept():
            for annotation in people:
                yield separator + to_json(annotation)
                separator = b",\n"
        yield b'\n],"categories":[' + to_json(_CATEGORY) + b"]}\n"

    def _kept(self) -> Iterator[Any]:
        if self._lines is None:
            return
        with open(os.dup(self._lines.fileno()), "rb") as lines:
            lines.seek(0)
            for line in lines:
                yield json.loads(line)


def _annotations(poses: Poses, image: int, first: int) -> Iterator[dict[str, Any]]:
    """The annotations of the people in an image, numbered from `first` on."""
    number = first
    for i, (result, box) in enumerate(zip(poses.to_coco(image), poses.boxes.tolist(), strict=True)):
        if not all(map(isfinite, box)):  # Nobody without a single keypoint can be drawn.
            continue
        points = [[x, y, 2] if score > 0 else [0, 0, 0] for x, y, score in _threes(result["keypoints"])]
        x, y, width, height = (round(value, 3) for value in (box[0], box[1], box[2] - box[0], box[3] - box[1]))
        annotation = {
            "id": number,
            "image_id": image,
            "category_id": _CATEGORY["id"],
            "iscrowd": 0,
            "bbox": [x, y, width, height],
            "area": round(width * height, 3),
            "segmentation": [],  # Some importers want to see that there is none.
            "num_keypoints": sum(point[2] > 0 for point in points),
            "keypoints": [value for point in points for value in point],
            "score": result["score"],
        }
        if poses.ids is not None:
            # Where COCO's users look for it, and where CVAT does.
            annotation["track_id"] = int(poses.ids[i])
            annotation["attributes"] = {"track_id": int(poses.ids[i])}
        yield annotation
        number += 1


def _info() -> dict[str, Any]:
    now = datetime.now(timezone.utc)
    return {
        "description": "People and their keypoints, found by edgepose",
        "url": "",
        "version": "1.0",
        "year": now.year,
        "contributor": "",
        "date_created": now.isoformat(timespec="seconds"),
    }


def _write(file: io.FileIO, data: bytes) -> None:
    while data:  # A write without a buffer may write a part only.
        data = data[file.write(data) :]


def _threes(values: Sequence[float]) -> Iterator[tuple[float, float, float]]:
    return zip(values[::3], values[1::3], values[2::3], strict=True)


def _check(path: str | Path) -> None:
    check_no_picture(Path(path), "keypoints go to a .json")
    if str(path) != STDOUT:
        check_file(Path(path))
