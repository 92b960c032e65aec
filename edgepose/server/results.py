"""What came of one frame, and what is made of it for viewers, each once: a text and pictures."""

from __future__ import annotations

import asyncio
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from edgepose.drawing import draw_poses
from edgepose.estimator import EstimatedFrame
from edgepose.server.metrics import Metrics
from edgepose.server.pose_json import poses_json

# At 80 a JPEG shows no blocks around thin lines, at half the bytes of OpenCV's default of 95.
JPEG_QUALITY = 80


class People:
    """The people of one frame, and the text that is made of them, once, where somebody asks for it.

    Args:
        number: Counts results from 1, over all openings of the source.
        frame: Where they were found.
        facts: What else goes into the text.
    """

    def __init__(self, number: int, frame: EstimatedFrame, facts: dict[str, Any]) -> None:
        height, width = frame.image.shape[:2]
        self.number = number
        self._poses = frame.poses
        self._when = {"frame": frame.index, "timestamp": round(frame.timestamp, 6)}
        self._image = {"path": os.path.basename(frame.path), "width": width, "height": height}
        self._facts = facts
        self._text: str | None = None

    def text(self) -> str:
        """A JSON object, as `edgepose run --json` writes it, with the rate and counts of the server."""
        if self._text is None:
            where = _members({**self._when, "image": self._image})
            self._text = f"{{{where},{poses_json(self._poses)},{_members(self._facts)}}}"
        return self._text


class Result:
    """What came of one frame: its people, and the pictures that are made for viewers, each once.

    Args:
        people: Who was found.
        frame: Where.
        draw: Where pictures are made.
        metrics: Is told how long that takes.
    """

    def __init__(self, people: People, frame: EstimatedFrame, draw: ThreadPoolExecutor, metrics: Metrics) -> None:
        self.number = people.number
        self.people = people
        self.frame = frame
        self._draw = draw
        self._metrics = metrics
        self._pictures: dict[int, asyncio.Future[bytes]] = {}

    async def picture(self, height: int | None = None) -> bytes:
        """The frame with the people drawn on it, as a JPEG.

        Args:
            height: Of pixels; what has more is halved until it fits. None: as large as the frame.
        """
        rows, columns = self.frame.image.shape[:2]
        smaller = 1
        while height is not None and rows // smaller > height and columns >= 2 * smaller:
            smaller *= 2
        if smaller not in self._pictures:
            loop = asyncio.get_running_loop()
            self._pictures[smaller] = loop.run_in_executor(self._draw, self._make_picture, smaller)
        # A viewer that goes away takes the picture from nobody else.
        return await asyncio.shield(self._pictures[smaller])

    def _make_picture(self, smaller: int) -> bytes:
        with self._metrics.timed("draw"):
            image, poses = self.frame.image, self.frame.poses
            if smaller > 1:
                # A whole number of pixels becomes one: that is quick, and needs no blurring.
                rows, columns = (size // smaller * smaller for size in image.shape[:2])
                size = (columns // smaller, rows // smaller)
                image = np.asarray(cv2.resize(image[:rows, :columns], size, interpolation=cv2.INTER_AREA), np.uint8)
                poses = replace(poses, keypoints=np.asarray((poses.keypoints + 0.5) / smaller - 0.5, np.float32))
            colours: Literal["limb", "person"] = "limb" if poses.ids is None else "person"
            drawn = draw_poses(image, poses, color_by=colours, out=image if smaller > 1 else None)
        with self._metrics.timed("encode"):
            return _encode(drawn)


def _members(content: dict[str, Any]) -> str:
    """`content` as JSON, without its braces."""
    return json.dumps(content, separators=(",", ":"))[1:-1]


def _encode(image: NDArray[np.uint8]) -> bytes:
    """`image` (H, W, 3) uint8 BGR as a JPEG."""
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return data.tobytes()
