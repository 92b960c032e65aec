"""The result of one frame, as viewers get it: its people as JSON, and the picture with them drawn on it. Each is made once."""

from __future__ import annotations

import asyncio
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Literal

import numpy as np
import orjson

from edgepose.drawing import draw_poses
from edgepose.estimator import EstimatedFrame
from edgepose.opencv import cv2
from edgepose.server.metrics import Metrics

# At a quality of 80, a JPEG shows no blocks around thin lines, and has half the bytes of OpenCV's default of 95.
JPEG_QUALITY = 80


class People:
    """The people of one frame, as JSON for viewers, which is made once and only if somebody asks for it.

    Attributes:
        number: The number of the result, counted from 1 over all openings of the source.
        time: When the frame came (live) or was looked at (files), in seconds of Unix time.
    """

    def __init__(self, number: int, frame: EstimatedFrame, *, fps: float, dropped: int) -> None:
        self.number = number
        now = time.time()
        self.time = now if frame.received is None else frame.received
        # The age is counted on a clock that nobody sets.
        self._came_at = time.monotonic() - max(0.0, now - self.time)
        self._when = {"frame": frame.index, "timestamp": round(frame.timestamp, 6)}
        self._path, self._shape = frame.path, frame.image.shape
        self._poses = frame.poses
        self._fps, self._dropped = fps, dropped
        self._json: bytes | None = None

    @property
    def age(self) -> float:
        """Seconds since the frame came."""
        return time.monotonic() - self._came_at

    def json(self, fps: float | None = None) -> bytes:
        """A JSON object, as `edgepose run --json` writes it, with its time, age, rate (now `fps`) and counts."""
        if self._json is None:
            # Names of files may have bytes that are no UTF-8, which only `json` writes.
            path = orjson.Fragment(json.dumps(os.path.basename(self._path)))
            image = {"path": path, "width": self._shape[1], "height": self._shape[0]}
            facts = {"dropped": self._dropped, "time": round(self.time, 3)}
            self._json = orjson.dumps({**self._when, "image": image, **self._poses.to_dict(), **facts})[:-1]
        return b'%b,"fps":%.2f,"age":%.3f}' % (self._json, self._fps if fps is None else fps, self.age)


class Result:
    """The result of one frame: its people, and its picture in the sizes that viewers ask for, made by the thread `draw`."""

    def __init__(self, people: People, frame: EstimatedFrame, draw: ThreadPoolExecutor, metrics: Metrics) -> None:
        self.number = people.number
        self.people = people
        self.frame = frame
        self._draw = draw
        self._metrics = metrics
        self._pictures: dict[int, asyncio.Future[bytes]] = {}

    async def picture(self, height: int | None = None) -> bytes:
        """The frame with the people drawn on it, as a JPEG, halved until it is not higher than `height` pixels."""
        rows, columns = self.frame.image.shape[:2]
        smaller = 1
        while height is not None and rows // smaller > height and columns >= 2 * smaller:
            smaller *= 2
        if smaller not in self._pictures:
            loop = asyncio.get_running_loop()
            self._pictures[smaller] = loop.run_in_executor(self._draw, self._make_picture, smaller)
        picture = self._pictures[smaller]
        # Shielded, because others may wait for the same picture when a viewer leaves.
        return picture.result() if picture.done() else await asyncio.shield(picture)

    def _make_picture(self, smaller: int) -> bytes:
        with self._metrics.timed("draw"):
            image, poses = self.frame.image, self.frame.poses
            if smaller > 1:
                # Squares of whole pixels become one pixel each, which is quick.
                rows, columns = (size // smaller * smaller for size in image.shape[:2])
                size = (columns // smaller, rows // smaller)
                image = np.asarray(cv2.resize(image[:rows, :columns], size, interpolation=cv2.INTER_AREA), np.uint8)
                poses = replace(poses, keypoints=np.asarray((poses.keypoints + 0.5) / smaller - 0.5, np.float32))
            colours: Literal["limb", "person"] = "limb" if poses.ids is None else "person"
            drawn = draw_poses(image, poses, color_by=colours, out=image if smaller > 1 else None)
        with self._metrics.timed("encode"):
            return cv2.imencode(".jpg", drawn, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
