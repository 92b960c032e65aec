"""The result of one frame, as viewers get it: its people as JSON, and the picture with them drawn on it. Each is made once."""

from __future__ import annotations

import asyncio
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Literal

import cv2
import numpy as np
import orjson
from numpy.typing import NDArray

from edgepose.drawing import draw_poses
from edgepose.estimator import EstimatedFrame
from edgepose.poses import Poses
from edgepose.server.metrics import Metrics

# At a quality of 80, a JPEG shows no blocks around thin lines, and has half the bytes of OpenCV's default of 95.
JPEG_QUALITY = 80
# Parts of one that x, y and score are rounded to: two digits of a pixel, four of a score, as in `Poses.to_dict`.
DIGITS = np.array([100.0, 100.0, 10_000.0])


class People:
    """The people of one frame, as JSON for viewers, which is made once and only if somebody asks for it.

    Args:
        number: The number of the result, counted from 1 over all openings of the source.
        frame: The frame that they were found in.
        facts: More entries of the JSON object.
    """

    def __init__(self, number: int, frame: EstimatedFrame, facts: dict[str, Any]) -> None:
        self.number = number
        self._when = {"frame": frame.index, "timestamp": round(frame.timestamp, 6)}
        self._path, self._shape = frame.path, frame.image.shape
        self._poses = frame.poses
        self._facts = facts
        self._json: bytes | None = None

    def json(self) -> bytes:
        """A JSON object, as `edgepose run --json` writes it, with the rate and counts of the server."""
        if self._json is None:
            # Names of files may have bytes that are no UTF-8, which only `json` writes.
            path = orjson.Fragment(json.dumps(os.path.basename(self._path)))
            image = {"path": path, "width": self._shape[1], "height": self._shape[0]}
            self._json = orjson.dumps({**self._when, "image": image, **poses_entries(self._poses), **self._facts})
        return self._json


def poses_entries(poses: Poses) -> dict[str, Any]:
    """The entries "skeleton" and "poses" of a JSON object, for orjson; the same numbers as in `Poses.to_dict`.

    orjson writes whole arrays, which takes a third of the time of lists (benchmarks/pose_json.py).
    """
    points = np.empty((*poses.scores.shape, 3))  # (N, K, 3) in doubles, in which products with DIGITS are exact.
    points[..., :2] = poses.keypoints
    points[..., 2] = poses.scores
    points *= DIGITS
    np.rint(points, out=points)
    points /= DIGITS
    # (K, N, 2): NumPy is quick at minima over the first axis. Those over NaN alone, of somebody without keypoints, are NaN.
    xy = np.ascontiguousarray(points[..., :2].swapaxes(0, 1))
    boxes = np.concatenate([np.fmin.reduce(xy), np.fmax.reduce(xy)], axis=1).tolist()
    confidence = np.round(poses.confidence.astype(np.float64), 4).tolist()
    ids = [None] * len(poses) if poses.ids is None else poses.ids.tolist()
    rows = zip(ids, confidence, boxes, points, strict=True)
    people = [{"id": i, "confidence": c, "box": box, "keypoints": person} for i, c, box, person in rows]
    text = orjson.dumps(people, option=orjson.OPT_SERIALIZE_NUMPY)
    # orjson writes NaN as null. What is missing is null as a whole.
    text = text.replace(b"[null,null,0.0]", b"null").replace(b"[null,null,null,null]", b"null")
    return {"skeleton": poses.skeleton.name, "poses": orjson.Fragment(text)}


class Result:
    """The result of one frame: its people, and its picture in the sizes that viewers ask for.

    Args:
        people: The people.
        frame: The frame that they were found in.
        draw: The thread that makes pictures.
        metrics: Gets the time that drawing and encoding take.
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
            height: The most pixels in height; a higher frame is halved until it fits. None: the size of the frame.
        """
        rows, columns = self.frame.image.shape[:2]
        smaller = 1
        while height is not None and rows // smaller > height and columns >= 2 * smaller:
            smaller *= 2
        if smaller not in self._pictures:
            loop = asyncio.get_running_loop()
            self._pictures[smaller] = loop.run_in_executor(self._draw, self._make_picture, smaller)
        # Shielded, because others may wait for the same picture when a viewer leaves.
        return await asyncio.shield(self._pictures[smaller])

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
            return _encode(drawn)


def _encode(image: NDArray[np.uint8]) -> bytes:
    """`image` (H, W, 3) uint8 BGR as a JPEG."""
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return data.tobytes()
