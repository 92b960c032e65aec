"""Decoded frames of FFmpeg as pictures: (H, W, 3) uint8 BGR, upright, without transparency."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from edgepose.errors import SourceError
from edgepose.media.images import MAX_PIXELS, on_white

_Matrix = tuple[tuple[float, float], tuple[float, float]]


class PictureMaker:
    """Makes pictures of decoded frames, whatever their format.

    The matrix and the range of the colours are those that the frame states; where it states none, BT.601 and the range of
    television, as FFmpeg and OpenCV have it.

    Args:
        name: The source, for errors.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._reformatter = VideoReformatter()
        self._has_alpha: dict[str, bool] = {}  # By the name of the format.
        self._matrices: dict[tuple[int, int, int], _Matrix] = {}  # By size and rotation.

    def __call__(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """The picture of `frame`.

        Raises:
            SourceError: It has more than `MAX_PIXELS`.
        """
        check_size(frame.width, frame.height, self._name)
        has_alpha = self._has_alpha.get(frame.format.name)
        if has_alpha is None:
            has_alpha = frame.format.name == "pal8" or any(component.is_alpha for component in frame.format.components)
            self._has_alpha[frame.format.name] = has_alpha
        # What OpenCV's captures do, bit for bit. Several threads take more processor time in all, which the network needs.
        made = self._reformatter.reformat(frame, format="bgra" if has_alpha else "bgr24", interpolation="BICUBIC", threads=1)
        picture = _array(made, 4 if has_alpha else 3)
        # Asking a frame for its matrix makes a cycle of references, which keeps its memory until Python looks for garbage.
        key = (frame.width, frame.height, frame.rotation)
        matrix = self._matrices.get(key)
        if matrix is None:
            matrix = self._matrices[key] = _matrix(frame)
        return _upright(on_white(picture) if has_alpha else picture, matrix)


def _array(frame: VideoFrame, channels: int) -> NDArray[np.uint8]:
    """The pixels of a packed frame (H, W, channels); its own memory, where the rows lie close together."""
    plane = frame.planes[0]
    if plane.line_size != frame.width * channels:
        return np.asarray(frame.to_ndarray(), np.uint8)
    memory = np.frombuffer(memoryview(plane), np.uint8)
    return memory[: plane.line_size * frame.height].reshape(frame.height, frame.width, channels)


def check_size(width: int, height: int, name: str) -> None:
    """Make sure that frames have no more than `MAX_PIXELS`.

    Raises:
        SourceError: They have.
    """
    if width * height > MAX_PIXELS:
        raise SourceError(f"{name}: {width} x {height} pixels a frame; expected at most {MAX_PIXELS:,}")


def is_turned(frame: VideoFrame) -> bool:
    """Whether what is stored as a row of `frame` is a column when it stands upright."""
    (a, b), (c, d) = _matrix(frame)
    return abs(b * c) > abs(a * d)


def _upright(picture: NDArray[np.uint8], matrix: _Matrix) -> NDArray[np.uint8]:
    """`picture` as the matrix of its frame says that it is to be shown: turned by quarters, and mirrored."""
    (a, b), (c, d) = matrix
    if a * d == 1 and a == 1:
        return picture
    # A point (x, y) of what is stored is shown at (a x + c y, b x + d y).
    if abs(b * c) > abs(a * d):
        picture, a, d = np.asarray(cv2.transpose(picture), np.uint8), c, b
    flips = {(True, True): -1, (True, False): 1, (False, True): 0}
    code = flips.get((a < 0, d < 0))
    return picture if code is None else np.asarray(cv2.flip(picture, code), np.uint8)


def _matrix(frame: VideoFrame) -> _Matrix:
    """The upper left of the display matrix (ISO 14496-12, 8.3.2), in units of one."""
    side_data: Mapping[Any, Any] = frame.side_data
    stated = side_data.get(Type.DISPLAYMATRIX)
    if stated is None:
        return (1, 0), (0, 1)
    a, b, _, c, d, *_ = np.frombuffer(stated, np.int32) / 65536
    return (a, b), (c, d)
