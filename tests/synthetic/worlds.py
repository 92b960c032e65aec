"""A world of people to follow: a pipeline that sees whoever stands in a box, and executors that tests hold in their hands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose import COCO17
from edgepose.decoding import DecodedPoses
from edgepose.media.sources import Frame, Source
from synthetic.walkers import X, Y

Scene = Callable[[int], NDArray[np.floating]]  # From the number of a frame to (P, 17, 2), NaN for the absent.


def standing(x: float, y: float, height: float = 120.0) -> NDArray[np.float64]:
    """(17, 2) keypoints of a person around (x, y)."""
    return np.stack([x + X * height, y + (Y - 0.5) * height], axis=1)


class World:
    """Stands for a `TopDown`: it knows who is where in each frame, whose number is written in the frame's first pixels.

    Args:
        scene: Everybody's keypoints in a frame.
        scores: From the number of a frame and of a person to their score; None: 0.9.
        hidden: Whether the detector does not see a person in a frame.
    """

    skeleton = COCO17
    min_confidence = 0.1
    batch_size = 1

    def __init__(
        self,
        scene: Scene,
        scores: Callable[[int, int], float] | None = None,
        hidden: Callable[[int, int], bool] = lambda number, person: False,
    ) -> None:
        self.scene, self.scores, self.hidden = scene, scores or (lambda number, person: 0.9), hidden
        self.asked: list[int] = []  # Numbers of the frames that the detector saw.
        self.looked: list[int] = []  # How many boxes were looked in, frame by frame.

    def detector_beside(self, image: NDArray[np.uint8]) -> NDArray[np.floating]:
        number = number_of(image)
        self.asked.append(number)
        people = self.scene(number)
        there = [p for p in range(len(people)) if not np.isnan(people[p]).any() and not self.hidden(number, p)]
        return np.array([[*around(people[p]), 0.9 - 0.0001 * p] for p in there]).reshape(-1, 5)

    def start_in(self, image: NDArray[np.uint8], boxes: NDArray[np.floating]) -> Callable[[], DecodedPoses]:
        number = number_of(image)
        self.looked.append(len(boxes))
        people = self.scene(number)
        keypoints = np.full((len(boxes), 17, 2), np.nan, np.float32)
        scores = np.zeros((len(boxes), 17), np.float32)
        for row, box in enumerate(boxes):
            # Somebody most of whom is in the crop, a quarter wider than the box; the one in the middle.
            low, high = box[:2], box[2:]
            middle, reach = (low + high) / 2, (high - low) * 0.625
            inside = (np.abs(people - middle) <= reach).all(axis=2).mean(axis=1)
            distance = np.where(inside > 0.6, np.abs(people.mean(axis=1) - middle).sum(axis=1), np.inf)
            person = int(np.argmin(distance)) if len(people) else -1
            if person < 0 or not np.isfinite(distance[person]):
                keypoints[row], scores[row] = np.linspace(low, high, 17), 0.03
            else:
                keypoints[row], scores[row] = people[person], self.scores(number, person)
        confidence = np.where(scores.max(axis=1, initial=0) > 0.2, scores.mean(axis=1), 0).astype(np.float32)
        return lambda: DecodedPoses(keypoints, scores, confidence)


def around(keypoints: NDArray[np.floating]) -> list[float]:
    """The box x0, y0, x1, y1 around a person, with some margin."""
    low, high = keypoints.min(axis=0), keypoints.max(axis=0)
    return [*(low - 8).tolist(), *(high + 8).tolist()]


def picture(number: int, height: int = 360, width: int = 640) -> NDArray[np.uint8]:
    """A black frame that tells its number."""
    image = np.zeros((height, width, 3), np.uint8)
    image[0, 0, :2] = divmod(number, 256)
    return image


def number_of(image: NDArray[np.uint8]) -> int:
    return int(image[0, 0, 0]) * 256 + int(image[0, 0, 1])


def frames(count: int, *, fps: float = 30.0, size: Callable[[int], tuple[int, int]] = lambda number: (360, 640)) -> Source:
    """A video of `count` such frames."""
    pictures = (Frame(picture(n, *size(n)), n, n / fps, "world") for n in range(count))
    return Source("world", "video", pictures, fps=fps)


class AtOnce(Executor):
    """Runs everything where it is asked for, so that results do not depend on the machine."""

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:  # type: ignore[override]
        future: Future[Any] = Future()
        _settle(future, lambda: function(*arguments, **options))
        return future


class ByHand(Executor):
    """Runs the first task at once, and every other one when the test says so."""

    def __init__(self, at_once: int = 1) -> None:
        self.at_once = at_once
        self.waiting: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:  # type: ignore[override]
        future: Future[Any] = Future()
        self.waiting.append((future, lambda: function(*arguments, **options)))
        if self.at_once > 0:
            self.at_once -= 1
            self.run()
        return future

    def run(self) -> None:
        """End all tasks that wait."""
        for future, task in self.waiting:
            _settle(future, task)
        self.waiting.clear()


def shown(results: Iterator[tuple[Frame, Any, Any]]) -> list[tuple[int, Sequence[int]]]:
    """The number of each frame, and the sorted numbers of the people in it."""
    return [(frame.index, sorted(keys.tolist())) for frame, _, keys in results]


def _settle(future: Future[Any], task: Callable[[], Any]) -> None:
    try:
        future.set_result(task())
    except Exception as error:
        future.set_exception(error)
