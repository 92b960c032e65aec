"""Keypoints in files, in three formats that are made of JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, cast, get_args

from edgepose.errors import InputError, OutputError
from edgepose.media.files import STDOUT, JsonList, to_json, write_file
from edgepose.media.frames import Frame, Picture, Source
from edgepose.media.kinds import POSES, is_one_frame
from edgepose.media.naming import only_once, picture_name, unique
from edgepose.media.outputs import check_file, check_folder, check_no_picture
from edgepose.poses import Poses

PosesFormat = Literal["json", "jsonl", "openpose"]


def open_sink(path: str | Path, source: Source, name: str, *, many: bool = False) -> PosesSink:
    """The sink for keypoints of `source` in the format `name`."""
    return PosesSink(path, cast("PosesFormat", name), timed=source.is_timed, many=many)


class PosesSink:
    """Keypoints in a file. After every `write` it is complete, beside its place, where it is moved in the end.

    - json: an object per image, as `Poses.to_dict` has it, with path, width, height, and the names of the keypoints; a list
      where there are several, or `many` says so.
    - jsonl: the same objects, one a line.
    - openpose: OpenPose's JSON, a file per frame named like OpenPose's, in a folder; or one .json file for one image.

    Args:
        path: The file, or "-" for standard output; for openpose a folder, or a file name that ends in .json.
        format: One of the three.
        timed: Add `frame` and `timestamp` (seconds) to the objects of json and jsonl: for videos and cameras.
        many: A list in json even if a single frame comes, or none.

    Raises:
        OutputError: The file cannot be written, or has the suffix of an image or video.
        InputError: There is no such format.
    """

    def __init__(self, path: str | Path, format: PosesFormat = "json", *, timed: bool = False, many: bool = False) -> None:
        self._path, self._format, self._timed = Path(path), format, timed
        self._names: set[str] = set()
        self._frames = 0
        self._file: JsonList | None = None
        if format not in get_args(PosesFormat):
            raise InputError(f"format is {format!r}; expected one of {', '.join(get_args(PosesFormat))}")
        check_no_picture(self._path, "keypoints go to a .json or .jsonl, or a folder")
        if format != "openpose":
            if str(path) != STDOUT:
                check_file(self._path)
            self._file = JsonList(path, lines=format == "jsonl", lone=format == "json" and not many)
        elif str(path) == STDOUT:
            raise OutputError("openpose has a file per frame; give a folder, or another format for standard output")
        else:
            check_folder(self._path.parent if is_one_frame(self._path, POSES["openpose"].per_frame) else self._path)

    def write(self, frame: Frame, poses: Poses, picture: Picture | None = None) -> None:
        """Write the people of `frame`; no picture is needed."""
        if self._file is None:
            write_file(self._openpose_path(frame), to_json(poses.to_openpose()))
        else:
            height, width = frame.image.shape[:2]
            time = {"frame": frame.index, "timestamp": round(frame.timestamp, 6)} if self._timed else {}
            image = {"path": frame.path, "width": width, "height": height}
            names = list(poses.skeleton.keypoints)
            self._file.append({**time, "image": image, **poses.to_dict(), "keypoint_names": names})
        self._frames += 1

    def close(self) -> None:
        """Finish the file; closing twice does no harm."""
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> PosesSink:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is None:
            self.close()
        elif self._file is not None:
            self._file.close(keep=self._frames > 0)

    def _openpose_path(self, frame: Frame) -> Path:
        if is_one_frame(self._path, POSES["openpose"].per_frame):
            only_once(self._path, self._names, "frame")
            return self._path
        name = Path(picture_name(frame, digits=12)).stem
        return self._path / unique(f"{name}_keypoints.json", self._names)
