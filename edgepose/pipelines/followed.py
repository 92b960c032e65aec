"""The people who are followed from frame to frame: where they are expected, who is lost, who is new. Pure numerics.

Legend: M people followed, R rows of a look at a frame (those followed, then those who may be new), K keypoints, N boxes of a
detection. Times in seconds, distances in pixels of the frame.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose.arrays import Double, Float, Ints
from edgepose.decoding import DecodedPoses
from edgepose.kernels.assignment import assign
from edgepose.kernels.oks import areas, oks, oks_in_motion
from edgepose.pipelines.detection import MAX_BOXES, MIN_FOUND, MIN_SIDE_PX, boxes_of_bodies
from edgepose.skeleton import COCO17, Skeleton, convert
from edgepose.tracking import follow

_log = logging.getLogger(__name__)

# All of these were chosen by benchmarks/following.py, on clips of photos that are panned and zoomed.
LEAST_STRENGTH = 0.12  # mean score of all keypoints, 0 for those not found: below it, nobody is seen
WEAK_FRAMES = 3  # so many frames in a row, and the person is lost
FALL = 0.5  # of a person's usual strength: below it, the score has fallen
FALLEN_SHARE = 0.75  # of the people: where the scores of so many fall, the scene may have changed
USUAL_GAIN = 0.2  # of the running mean of strengths
SAME_PERSON_OKS = 0.5  # two people who are followed become one; in `top_down`, where each has a box by a detector, it is 0.7
NEW_PERSON_OKS = 0.35  # a box of a detection shows somebody who is followed, in another way than a detector sees them
TRUSTED = 0.2  # a keypoint scores at least so much, to tell where its person is in the next frame
SAME_BOX_IOU = 0.3
# Somebody less like the one who was expected is somebody else, and sooner so in a new scene; see `oks_in_motion`.
SLACK_PER_S, LEAST_FIT, LEAST_FIT_AFTER_CUT = 5.0, 0.05, 0.3
LEAST_INSIDE = 0.1  # of a box, within the picture: a person with less of it has left
REMEMBERED_S = 0.25  # a keypoint that is not found counts at its expected place for so long
MAX_STEP_S = 0.5  # after a longer gap people are expected where they were: nobody keeps a speed for seconds


@dataclass
class Look:
    """A frame that is looked at: in which boxes, and what was found there.

    Attributes:
        keys: (R,) who is expected in each box, or the number of somebody who may be new.
        boxes: (R, 5) within the frame, with the confidence of the detection.
        new: (R,) who comes from a detection, and is not followed yet.
        after_cut: The frame begins another scene, by its colours.
        decoded: R people, once the network is done.
        confidence: (R,) of these people: the mean score of all keypoints; a detection is of an older frame.
        shown: Those rows of them that are people, each once, best first; (0,) before.
    """

    keys: Ints
    boxes: Float
    new: NDArray[np.bool_]
    after_cut: bool = False
    decoded: DecodedPoses | None = None
    confidence: Float = field(default_factory=lambda: np.empty(0, np.float32))
    shown: Ints = field(default_factory=lambda: np.empty(0, np.int64))


@dataclass
class _State:
    """M people. The clock of `seen` is 0 at the last frame."""

    keys: Ints  # (M,) from 1, growing
    position: Float  # (M, K, 2) of each keypoint when it was last found, NaN where never
    seen: Double  # (M, K) when that was; minus infinity where never
    velocity: Float  # (M, 2)
    area: Float  # (M,)
    boxes: Float  # (M, 5) in the last frame, with the confidence of the last detection
    usual: Float  # (M,) running mean of the strength
    weak: Ints  # (M,) frames in a row of too little strength
    fallen: NDArray[np.bool_]  # (M,) the score fell far below the usual

    @classmethod
    def fresh(cls, keys: Ints, boxes: Float, strength: Float, keypoints: int) -> _State:
        """People who were never seen before."""
        count = len(keys)
        return cls(
            keys,
            np.full((count, keypoints, 2), np.nan, np.float32),
            np.full((count, keypoints), -np.inf),
            np.zeros((count, 2), np.float32),
            np.ones(count, np.float32),
            boxes,
            strength,
            np.zeros(count, np.int64),
            np.zeros(count, np.bool_),
        )

    def __getitem__(self, index: NDArray[Any]) -> _State:
        return _State(*(array[index] for array in vars(self).values()))

    def joined(self, others: _State) -> _State:
        return _State(*(np.concatenate(pair) for pair in zip(vars(self).values(), vars(others).values(), strict=True)))


class FollowedPeople:
    """Follows the people of a video, from frame to frame.

    Args:
        skeleton: Of the network's answers.
        min_confidence: Least confidence of a person who is shown, and of a detection that is looked at.

    Attributes:
        is_lost: Somebody was lost since the last detection began.
        have_fallen: The scores of all fell in the last frame.
    """

    def __init__(self, skeleton: Skeleton, min_confidence: float) -> None:
        self.is_lost = self.have_fallen = False
        self._skeleton = skeleton
        self._sigmas = np.array(skeleton.sigmas, np.float32)
        self._min_confidence = min_confidence
        self._given = 0  # keys
        self._size = (0, 0)
        self._people = _State.fresh(*_nobody(), len(skeleton))
        # Those who may be new in looks that have no answer yet: the next frames look for them, too.
        self._coming: tuple[Ints, Float] = _nobody()[:2]

    def __len__(self) -> int:
        """The number of people followed, with those of whom no frame has told yet whether they are new."""
        return len(self._people.keys) + len(self._coming[0])

    def forget(self) -> None:
        """Follow nobody."""
        self.is_lost = self.have_fallen = False
        self._people = self._people[np.empty(0, np.int64)]
        self._coming = _nobody()[:2]

    def resize(self, height: int, width: int) -> bool:
        """Take frames of another size from now on: people are scaled with their frame; False if it has another shape."""
        old, self._size = self._size, (height, width)
        if old in ((0, 0), self._size):
            return old == self._size
        scale = np.array((width / old[1], height / old[0]), np.float32)
        if abs(scale[0] / scale[1] - 1) > 0.02:
            self.forget()
            return False
        people = self._people
        people.position *= scale
        people.velocity *= scale
        people.area *= scale.prod()
        people.boxes[:, :4] *= np.tile(scale, 2)
        return True

    def expect(self, elapsed: float, newcomers: Float) -> Look:
        """The boxes to look in, so many seconds after the last frame; who has left the picture is not followed any more.

        Args:
            elapsed: Seconds.
            newcomers: (N, 5) boxes of people who may be new.
        """
        boxes = self._boxes(elapsed if elapsed <= MAX_STEP_S else 0.0)
        sides = boxes[:, 2:4] - boxes[:, :2]
        _clip(boxes, self._size)
        inside = boxes[:, 2:4] - boxes[:, :2]
        there = (inside >= MIN_SIDE_PX).all(axis=1) & (inside.prod(axis=1) >= LEAST_INSIDE * sides.prod(axis=1))
        if not there.all():
            self._people, boxes = self._people[there], boxes[there]
        keys, coming = self._coming
        boxes = np.concatenate([boxes, coming])
        room = MAX_BOXES - len(boxes)
        if len(newcomers) > room:
            _log.warning("%d people are followed and %d are new; %d are followed", len(boxes), len(newcomers), MAX_BOXES)
            newcomers = newcomers[np.argsort(-newcomers[:, 4], kind="stable")[:room]]
        new_keys = self._new_keys(len(newcomers))
        self._coming = np.concatenate([keys, new_keys]), np.concatenate([coming, newcomers])
        new = np.arange(len(boxes) + len(new_keys)) >= len(boxes)
        return Look(np.concatenate([self._people.keys, keys, new_keys]), np.concatenate([boxes, newcomers]), new)

    def update(self, look: Look, decoded: DecodedPoses, elapsed: float, *, in_doubt: bool = False) -> None:
        """Go on to a frame, `elapsed` seconds after the one before, with what was found in it; fills `look`.

        Where it is `in_doubt` whether the scene is still the same, people who are hardly seen are not shown.
        """
        look.decoded = decoded
        keypoints = _trusted(decoded)
        still = ~np.isin(self._coming[0], look.keys[look.new])
        self._coming = self._coming[0][still], self._coming[1][still]
        people = self._people
        people.seen -= min(elapsed, MAX_STEP_S)
        row = _rows(people.keys, look.keys)
        strength = self._strengths(decoded)
        weak = strength < LEAST_STRENGTH
        fit = self._fits(row, keypoints)
        moved_away = (row >= 0) & (fit < (LEAST_FIT_AFTER_CUT if look.after_cut else LEAST_FIT))
        fallen = self._fallen(row, strength)
        followed = row >= 0
        self.have_fallen = bool(followed.any()) and (fallen | moved_away)[followed].mean() >= FALLEN_SHARE

        kept = self._distinct(look, keypoints, row, strength * np.where(row >= 0, np.maximum(fit, 0.01), 1))
        # Somebody else stands where a person was expected: a new one, as far as anybody can say.
        strangers = kept & moved_away & ~weak
        look.keys[strangers] = self._new_keys(int(strangers.sum()))
        followed = kept & (row >= 0) & ~strangers
        known = row[followed]
        people.usual[known] += USUAL_GAIN * (strength[followed] - people.usual[known])
        people.fallen[known] = fallen[followed]
        people.weak[known] = np.where(weak[followed], people.weak[known] + 1, 0)
        people.boxes[known, :4] = look.boxes[followed, :4]
        gone = np.zeros(len(people.keys), np.bool_)
        gone[row[(row >= 0) & ~followed]] = True
        gone[known] = people.weak[known] >= WEAK_FRAMES
        self.is_lost |= bool(gone.any())

        # A newcomer is a person by the confidence of the box and of the keypoints, as without following; later, the keypoints
        # alone tell.
        is_sure = look.boxes[:, 4] * decoded.confidence >= self._min_confidence
        new = (kept & look.new & ~weak & is_sure) | strangers
        newcomers = _State.fresh(look.keys[new], look.boxes[new], strength[new], len(self._skeleton))
        self._people = people[~gone]
        if len(newcomers.keys):
            joined = self._people.joined(newcomers)
            self._people = joined[np.argsort(joined.keys)]
        seen = (followed & ~weak) | new
        self._move(look.keys[seen], keypoints[seen])

        shown = (followed & ~(weak & in_doubt)) | new
        shown &= (strength >= self._min_confidence) & (strength > 0)
        look.confidence = strength
        best_first = np.argsort(-strength, kind="stable")
        look.shown = best_first[shown[best_first]]

    def merge(self, boxes: Float, look: Look, *, is_new_scene: bool = False) -> Float:
        """Take in a detection, of the frame of `look`; returns the boxes (N, 5), as of the last frame, of those not followed.

        Args:
            boxes: (N, 5) of everybody in that frame.
            look: What was known of it when the detection began, or is known now.
            is_new_scene: It is the first of another scene: of those who are not in it, only people who are seen well still are.
        """
        boxes = boxes[boxes[:, 4] >= self._min_confidence]
        now = _rows(self._people.keys, look.keys)
        then = self._boxes_in(look)
        overlap = _iou(boxes, then)
        column = assign(-overlap) if len(then) and len(boxes) else np.full(len(boxes), -1, np.int64)
        same = column >= 0
        same[same] = overlap[same, column[same]] > SAME_BOX_IOU
        found = now[column[same]]
        if is_new_scene:
            stays = ~self._people.fallen
            stays[found[found >= 0]] = True
            self._people = self._people[stays]
            now = _rows(self._people.keys, look.keys)
        # Who is not followed moves as those do who are: with the camera, mostly.
        newcomers = boxes[~same]
        if (now >= 0).any():
            moved = self._boxes(0.0)[now[now >= 0], :4] - then[now >= 0]
            newcomers[:, :4] += np.tile(np.median(moved.reshape(-1, 2, 2).mean(axis=1), axis=0), 2)
            _clip(newcomers, self._size)
            newcomers = newcomers[(newcomers[:, 2:4] - newcomers[:, :2] >= MIN_SIDE_PX).all(axis=1)]
        return newcomers

    def _new_keys(self, count: int) -> Ints:
        self._given += count
        return np.arange(self._given - count + 1, self._given + 1)

    def _boxes(self, elapsed: float) -> Float:
        """(M, 5) boxes of all people as they are expected `elapsed` seconds after the last frame; they may stick out of it."""
        people = self._people
        age = np.where(people.seen >= -REMEMBERED_S, elapsed - people.seen, 0)
        keypoints = people.position + people.velocity[:, None] * age[..., None].astype(np.float32)
        keypoints[people.seen < -REMEMBERED_S] = np.nan
        boxes = people.boxes.copy()
        boxes[:, :4] += np.tile(people.velocity * np.float32(elapsed), 2)
        return self._around(keypoints, boxes)

    def _boxes_in(self, look: Look) -> Float:
        """(R, 4) boxes of the people of a look, around their keypoints if these are known."""
        boxes = look.boxes.copy()
        if look.decoded is not None:
            boxes = self._around(_trusted(look.decoded), boxes)
        return boxes[:, :4]

    def _around(self, keypoints: Float, boxes: Float) -> Float:
        """`boxes` (M, 5), put around `keypoints` (M, K, 2) where enough of them were found."""
        if self._skeleton is not COCO17:
            scores = np.where(np.isnan(keypoints[..., 0]), np.float32(0), np.float32(1))
            keypoints, _ = convert(keypoints, scores, self._skeleton, COCO17)
        enough = (~np.isnan(keypoints[..., 0])).sum(axis=1) >= MIN_FOUND
        boxes[enough, :4] = boxes_of_bodies(keypoints[enough])
        return boxes

    def _strengths(self, decoded: DecodedPoses) -> Float:
        """(R,) mean scores of all keypoints; those not found, or outside the picture, count as 0."""
        height, width = self._size
        x, y = decoded.keypoints[..., 0], decoded.keypoints[..., 1]
        inside = (x >= 0) & (y >= 0) & (x <= width) & (y <= height)  # Not so for NaN.
        return np.asarray(np.where(inside, decoded.scores, np.float32(0)).mean(axis=1), np.float32)

    def _fits(self, row: Ints, keypoints: Float) -> Float:
        """(R,) how like the one who was expected each person is; 1 for those who may be new."""
        people = self._people[row[row >= 0]]
        similarity, _ = oks_in_motion(
            people.position, people.seen, people.velocity, people.area, keypoints[row >= 0], self._sigmas, 0.0, SLACK_PER_S
        )
        fit = np.ones(len(row), np.float32)
        fit[row >= 0] = similarity.diagonal()
        return fit

    def _fallen(self, row: Ints, strength: Float) -> NDArray[np.bool_]:
        """(R,) whose scores have fallen far below their usual ones."""
        usual = np.where(row >= 0, self._people.usual[row], 0) if len(self._people.keys) else np.zeros(len(row))
        return strength < FALL * usual

    def _distinct(self, look: Look, keypoints: Float, row: Ints, value: Float) -> NDArray[np.bool_]:
        """(R,) who is like nobody better; those who are followed are better than those who may be new."""
        kept = look.new | (row >= 0)
        order = np.lexsort((-value, look.new))
        order = order[kept[order]]
        if len(order) > 1:
            similarity = oks(keypoints, keypoints, areas(keypoints), self._sigmas)
            for place, person in enumerate(order):
                most = NEW_PERSON_OKS if look.new[person] else SAME_PERSON_OKS
                better = order[:place]
                kept[person] = not (similarity[better[kept[better]], person] > most).any()
        return kept

    def _move(self, keys: Ints, keypoints: Float) -> None:
        """Put the people with `keys` to where they were found now."""
        row = _rows(self._people.keys, keys)
        moved = self._people[row]
        follow(moved.position, moved.seen, moved.velocity, moved.area, keypoints, areas(keypoints), 0.0)
        for name in ("position", "seen", "velocity", "area"):
            getattr(self._people, name)[row] = getattr(moved, name)


def _trusted(decoded: DecodedPoses) -> Float:
    """(R, K, 2) keypoints that score enough, NaN in place of the others."""
    return np.where((decoded.scores >= TRUSTED)[..., None], decoded.keypoints, np.float32(np.nan))


def _nobody() -> tuple[Ints, Float, Float]:
    return np.empty(0, np.int64), np.empty((0, 5), np.float32), np.empty(0, np.float32)


def _rows(keys: Ints, wanted: Ints) -> Ints:
    """(R,) place in `keys` (M,), which grow, of each of `wanted` (R,); -1 where it is not among them."""
    if len(keys) == 0:
        return np.full(len(wanted), -1, np.int64)
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, place, -1)


def _clip(boxes: Float, size: tuple[int, int]) -> None:
    """Cut off what sticks out of a frame of `size` (height, width), in place."""
    height, width = size
    np.clip(boxes[:, :4], 0, np.array((width, height, width, height), np.float32), out=boxes[:, :4])


def _iou(boxes: Float, others: Float) -> Float:
    """(N, R) intersection over union of boxes (N, 4 or more) with others (R, 4 or more)."""
    low, high = np.maximum(boxes[:, None, :2], others[:, :2]), np.minimum(boxes[:, None, 2:4], others[:, 2:4])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    own, other = ((b[:, 2:4] - b[:, :2]).prod(axis=1) for b in (boxes, others))
    return np.asarray(shared / (own[:, None] + other - shared), np.float32)
