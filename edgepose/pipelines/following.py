"""Following: a top-down model looks where the people of the frame before are expected, and a detector runs beside it.

    caller's thread       boxes of n from people of n-1 -> crops -> network -> people of n -> boxes of n+1 -> ...
    detector's thread           frame n ------------------------------> its boxes, as of the newest frame, are looked at, too

The detector is asked about the first frame, then every `every` frames, and at once when nobody is followed, somebody was lost,
or the scene has changed. Its answer is used in the frame after it is there, which varies from run to run by a frame or two.

No frame waits for it but the first of the source; and of a file, whose frames come as fast as they are asked for, a frame that
is `BLIND_FRAMES` into a new scene, or into a time when nobody is followed: people would be out of sight for many frames
otherwise. The frames of a live source come at their own pace, and never wait.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgepose.arrays import Float, Ints
from edgepose.decoding import DecodedPoses
from edgepose.errors import EdgePoseError, ModelError
from edgepose.media.frames import Frame, Source
from edgepose.media.images import check_image
from edgepose.pipelines.cuts import Cuts
from edgepose.pipelines.detection import checked_boxes
from edgepose.pipelines.followed import FollowedPeople, Look
from edgepose.pipelines.top_down import TopDown
from edgepose.poses import Poses
from edgepose.tracking import elapsed_s

DETECT_EVERY_S = 0.5
USUAL_FPS = 30.0  # of sources that do not say theirs
BLIND_FRAMES, MAX_WAIT_S = 2, 5.0
# A person who is hidden for so long is the same afterwards: `Tracker` has a second less, but nobody has to be detected there.
MAX_GAP_S = 2.0


def detection_interval(fps: float | None) -> int:
    """Frames from one detection to the next where nobody says: half a second's, at 30 frames a second if `fps` is not known."""
    known = fps is not None and math.isfinite(fps) and 0 < fps <= 1000
    return max(1, round(DETECT_EVERY_S * (fps if known and fps is not None else USUAL_FPS)))


@dataclass
class _Started:
    """A frame that the network runs on, in the boxes of `look`."""

    frame: Frame
    look: Look
    people: Callable[[], DecodedPoses]


@dataclass
class _Detection:
    """A detection under way, of a frame, of which `look` tells who is followed in it."""

    number: int
    shape: tuple[int, ...]
    look: Look
    boxes: Future[Any]
    is_waited_for: bool = False  # A frame has waited for it already.


class Follower:
    """Looks at the frames of one source, one after the other, and follows the people in them.

    Args:
        pipeline: Finds a person in each box.
        every: Frames from one detection to the next.
        is_live: Whether frames come at their own pace, and wait for nothing.
        executor: Runs the detector, one frame at a time, and is shut down at the end; None: a thread of its own.

    Attributes:
        detections: How often the detector was asked.
        crops: How many people were looked at, in all frames.
    """

    def __init__(self, pipeline: TopDown, every: int, *, is_live: bool = False, executor: Executor | None = None) -> None:
        self.detections = self.crops = 0
        self._pipeline = pipeline
        self._every = every
        self._is_live = is_live
        self._executor = executor or ThreadPoolExecutor(1, "edgepose-detector")
        self._people = FollowedPeople(pipeline.skeleton, pipeline.min_confidence)
        self._detection: _Detection | None = None
        self._detected = 0  # The number of the frame that the detector was last asked about.
        self._cuts = Cuts()
        # Numbers of frames: since when nobody is followed, and which may have begun a scene that no detection was made of yet.
        self._blind: int | None = 0
        self._scene: int | None = None
        self._fell = False  # The latter by the people's scores, not by the picture.
        self._timestamp: float | None = None  # Of the frame started last.
        self._steps: deque[float] = deque()  # Seconds from the frame before to each that is under way.

    def start(self, frame: Frame) -> _Started:
        """Start the network on the people who are expected in `frame`, and on those whom the detector has found meanwhile.

        Raises:
            EdgePoseError: The detector has failed.
        """
        self._steps.append(elapsed_s(self._timestamp, frame.timestamp))
        self._timestamp = float(frame.timestamp)
        elapsed = sum(self._steps)  # Since the last frame whose people are known.
        is_new = not self._people.resize(*frame.image.shape[:2])
        after_cut = self._cuts.begins(frame.image)
        if after_cut:
            self._scene, self._fell = frame.index, False
        look = self._people.expect(elapsed, self._newcomers(frame, elapsed, is_new))
        look.after_cut = after_cut
        if self._detection is None and self._is_due(frame.index, look):
            self._detect(frame, look)
        self.crops += len(look.keys)
        return _Started(frame, look, self._pipeline.start_in(frame.image, look.boxes[:, :4]))

    def finish(self, started: _Started) -> None:
        """Wait for the people of a frame, and follow them on. Frames are finished in the order in which they were started."""
        people, frame = self._people, started.frame
        people.update(started.look, started.people(), self._steps.popleft(), in_doubt=self._scene is not None)
        if len(people):
            self._blind = None
        elif self._blind is None:
            self._blind = frame.index
        if people.have_fallen and self._scene is None:
            self._scene, self._fell = frame.index, True
        elif self._fell and not people.have_fallen:  # They are back: something passed in front of the camera.
            self._scene, self._fell = None, False
        if self._detection is None and (self._scene == frame.index or people.is_lost):
            self._detect(frame, started.look)

    def report(self, started: _Started) -> tuple[Frame, Poses, Ints]:
        """The frame, the people in it, best first, and the number of each, which lasts for as long as they are followed."""
        look, decoded = started.look, started.look.decoded
        assert decoded is not None
        shown = look.shown
        poses = Poses(decoded.keypoints[shown], decoded.scores[shown], look.confidence[shown], self._pipeline.skeleton)
        return started.frame, poses, look.keys[shown]

    def end(self) -> None:
        """Wait for the detector for a moment, at the end of the source, so that its failure does not go unnoticed.

        Raises:
            EdgePoseError: It has failed.
        """
        if self._detection is not None and wait([self._detection.boxes], MAX_WAIT_S).done:
            self._boxes(self._detection)

    def close(self) -> None:
        """Ask the detector nothing more; what it is doing ends by itself."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _newcomers(self, frame: Frame, elapsed: float, is_new: bool) -> Float:
        """Boxes (N, 5) of people who are not followed, as far as the detector has told by now; waits where need be.

        Args:
            frame: The frame to look at next.
            elapsed: Seconds since the last whose people are known.
            is_new: It is the first of its size.
        """
        nobody = np.empty((0, 5), np.float32)
        is_first = self.detections == 0
        while True:
            since = [number for number in (None if len(self._people) else self._blind, self._scene) if number is not None]
            is_blind = any(abs(frame.index - number) >= BLIND_FRAMES for number in since)
            waits = is_first or (not self._is_live and (is_new or is_blind))
            if waits and self._detection is None:
                self._detect(frame, self._people.expect(elapsed, nobody))
            detection = self._detection
            if detection is None:
                return nobody
            if waits and not detection.is_waited_for:
                detection.is_waited_for = True
                wait([detection.boxes], None if is_first else MAX_WAIT_S)
            if not detection.boxes.done():
                return nobody
            boxes = self._boxes(detection)
            # A detection of another size, or of the scene before, is of no use.
            is_stale = self._scene is not None and detection.number < self._scene
            if detection.shape == frame.image.shape and not is_stale:
                is_new_scene = self._scene is not None
                self._blind = None if self._blind is None else frame.index
                self._scene, self._fell = None, False
                return self._people.merge(boxes, detection.look, is_new_scene=is_new_scene)

    def _is_due(self, number: int, look: Look) -> bool:
        passed = number - self._detected
        return not len(look.keys) or self._people.is_lost or self._scene is not None or not 0 <= passed < self._every

    def _detect(self, frame: Frame, look: Look) -> None:
        """Ask the detector about a frame of which `look` is known."""
        self.detections += 1
        self._detected = frame.index
        self._people.is_lost = False
        image = frame.image.copy()  # The caller may draw on it meanwhile.
        boxes = self._executor.submit(self._pipeline.detector_beside, image)
        self._detection = _Detection(frame.index, image.shape, look, boxes)

    def _boxes(self, detection: _Detection) -> Float:
        """(N, 5) boxes of a detection that is done, which is not under way any more."""
        self._detection = None
        height, width = detection.shape[:2]
        try:
            return checked_boxes(detection.boxes.result(), height, width, "boxes of the detector")
        except EdgePoseError as error:
            error.args = (f"frame {detection.number}: {error}",)
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise ModelError(f"frame {detection.number}: the detector failed; it says: {reason}") from error


def follow(frames: Source, follower: Follower, requests: Callable[[], int]) -> Iterator[tuple[Frame, Poses, Ints]]:
    """Each frame with its people, best first, and their numbers; of what is live, only the newest frames.

    The network runs on a frame while the caller has the one before: all that it waits for is the decoding of that.

    Args:
        frames: Where they come from.
        follower: Finds the people.
        requests: How many frames the device runs at a time. With more than one, people are expected by an older frame.

    Raises:
        EdgePoseError: The detector has failed.
    """
    running: deque[_Started] = deque()
    done: _Started | None = None
    try:
        while True:
            if len(running) >= requests():
                done = running.popleft()
                follower.finish(done)
                if frames.is_live and not frames.ready:  # No frame has come yet that could be started first.
                    yield follower.report(done)
                    done = None
            try:
                frame = next(frames, None)
                if frame is not None:
                    check_image(frame.image)
                    running.append(follower.start(frame))
            except Exception:
                if done is not None:
                    yield follower.report(done)
                raise
            if done is not None:
                yield follower.report(done)
                done = None
            if frame is None:
                break
        while running:
            done = running.popleft()
            follower.finish(done)
            yield follower.report(done)
        follower.end()
    finally:
        running.clear()  # After an error nobody asks for these: they must not live as long as its traceback.
        follower.close()
