"""Annotated frames as pictures."""

from __future__ import annotations

from pathlib import Path

from edgepose.media.frames import Frame, Picture, Source
from edgepose.media.images import write_image
from edgepose.media.kinds import IMAGE_SUFFIXES, is_one_frame, picture_kind
from edgepose.media.naming import only_once, picture_name, unique
from edgepose.media.outputs import check_folder, spare_source
from edgepose.poses import Poses


def open_sink(path: str | Path, source: Source, name: str) -> ImageSink:
    """The sink for annotated pictures of `source`."""
    return ImageSink(path)


class ImageSink:
    """Annotated pictures: one file, or a folder in which each keeps the name of its source.

    Frames of videos and cameras are numbered: clip_000012.jpg.

    Args:
        path: A file name with an image suffix, for one picture; or a folder.

    Raises:
        OutputError: The suffix is unknown. While writing: the file cannot be written, is the source itself, or was
            written already.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        picture_kind(self._path)  # Raises an error for an unknown suffix.
        self._is_file = is_one_frame(self._path, IMAGE_SUFFIXES)
        check_folder(self._path.parent if self._is_file else self._path)
        self._names: set[str] = set()

    def write(self, frame: Frame, poses: Poses, picture: Picture) -> None:
        """Write the annotated `picture` of `frame`."""
        path = self._path if self._is_file else self._path / unique(picture_name(frame), self._names)
        if self._is_file:
            only_once(path, self._names, "picture")
        spare_source(path, frame.path)
        write_image(path, picture())

    def close(self) -> None:
        """Nothing is left to do: each picture was whole when `write` returned."""

    def __enter__(self) -> ImageSink:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
