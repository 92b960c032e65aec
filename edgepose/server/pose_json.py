"""People as JSON, digit by digit: the text of `Poses.to_dict`, for every frame that somebody watches.

Lists of lists of numbers, made and thrown away again, take several times as long (benchmarks/pose_json.py).
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose.kernels.jit import kernel
from edgepose.poses import Poses

# Beyond this many pixels, a number might need more room than `_room` gives it; and nothing is there.
_FAR = 1e9

# Not to be written to, as `Poses.ids` is not: for Numba that is a type of its own, for which it would compile anew.
_NO_IDS = np.frombuffer(b"", np.int64)

_OPEN = np.frombuffer(b'{"id":', np.uint8)
_CONFIDENCE = np.frombuffer(b',"confidence":', np.uint8)
_BOX = np.frombuffer(b',"box":', np.uint8)
_KEYPOINTS = np.frombuffer(b',"keypoints":[', np.uint8)
_NULL = np.frombuffer(b"null", np.uint8)


def poses_json(poses: Poses) -> str:
    """The entries "skeleton" and "poses" of a JSON object, without its braces; the same numbers as in `Poses.to_dict`."""
    found = poses.keypoints[poses.scores > 0]
    if not (np.abs(found) < _FAR).all():  # Neither if one is infinite.
        return json.dumps(poses.to_dict(), separators=(",", ":"))[1:-1]
    count, k = poses.scores.shape
    out = np.empty(_room(count, k), np.uint8)
    used = _write(poses.keypoints, poses.scores, poses.confidence, _NO_IDS if poses.ids is None else poses.ids, out)
    return f'"skeleton":{json.dumps(poses.skeleton.name)},"poses":[{out[:used].tobytes().decode("ascii")}]'


def warm_up() -> None:
    """Compile the kernel, or load it from its cache."""
    poses_json(Poses.empty())


def _room(count: int, k: int) -> int:
    """Bytes that the text takes at most: numbers of pixels have 13, scores 6, identities 20."""
    return count * (150 + k * 40)


@kernel
def _write(
    keypoints: NDArray[np.float32],
    scores: NDArray[np.float32],
    confidence: NDArray[np.float32],
    ids: NDArray[np.int64],
    out: NDArray[np.uint8],
) -> int:
    """Fill `out` with a JSON object a person, commas between; returns its length.

    Args:
        keypoints: (N, K, 2), each less than `_FAR`, or NaN where the score is 0.
        scores: (N, K) in [0, 1].
        confidence: (N,) in [0, 1].
        ids: (N,), or empty: there are none.
        out: (`_room`,).
    """
    at = 0
    for i in range(keypoints.shape[0]):
        if i > 0:
            at = _put(out, at, ord(","))
        at = _copy(out, at, _OPEN)
        at = _whole(out, at, ids[i]) if ids.size else _copy(out, at, _NULL)
        at = _copy(out, at, _CONFIDENCE)
        at = _number(out, at, confidence[i], 4)
        at = _copy(out, at, _BOX)
        x0 = y0 = np.float32(np.inf)
        x1 = y1 = np.float32(-np.inf)
        for j in range(keypoints.shape[1]):
            if scores[i, j] > 0:
                x, y = keypoints[i, j, 0], keypoints[i, j, 1]
                x0, y0, x1, y1 = min(x0, x), min(y0, y), max(x1, x), max(y1, y)
        if x0 <= x1:
            at = _put(out, at, ord("["))
            at = _put(out, _number(out, at, x0, 2), ord(","))
            at = _put(out, _number(out, at, y0, 2), ord(","))
            at = _put(out, _number(out, at, x1, 2), ord(","))
            at = _put(out, _number(out, at, y1, 2), ord("]"))
        else:
            at = _copy(out, at, _NULL)
        at = _copy(out, at, _KEYPOINTS)
        for j in range(keypoints.shape[1]):
            if j > 0:
                at = _put(out, at, ord(","))
            if scores[i, j] > 0:
                at = _put(out, at, ord("["))
                at = _put(out, _number(out, at, keypoints[i, j, 0], 2), ord(","))
                at = _put(out, _number(out, at, keypoints[i, j, 1], 2), ord(","))
                at = _put(out, _number(out, at, scores[i, j], 4), ord("]"))
            else:
                at = _copy(out, at, _NULL)
        at = _put(out, at, ord("]"))
        at = _put(out, at, ord("}"))
    return at


@kernel
def _number(out: NDArray[np.uint8], at: int, value: float | np.floating[Any], digits: int) -> int:
    """Write `value`, rounded to so many digits after the point, without needless zeros; returns the place after it."""
    scale = 10**digits
    # Exact, as a float32 times ten thousand is in doubles; so ties go to even, as those of `round` do.
    parts = np.int64(np.rint(np.float64(value) * scale))
    if parts < 0 or (parts == 0 and np.signbit(value)):
        at = _put(out, at, ord("-"))
        parts = -parts
    at = _whole(out, at, parts // scale)
    at = _put(out, at, ord("."))
    rest = parts % scale
    while True:  # At least one digit.
        scale //= 10
        at = _put(out, at, ord("0") + rest // scale)
        rest %= scale
        if rest == 0:
            return at


@kernel
def _whole(out: NDArray[np.uint8], at: int, value: int) -> int:
    """Write a whole number; returns the place after it."""
    if value < 0:
        at = _put(out, at, ord("-"))
        value = -value
    end = at + 1
    left = value // 10
    while left > 0:
        end += 1
        left //= 10
    for place in range(end - 1, at - 1, -1):
        out[place] = ord("0") + value % 10
        value //= 10
    return end


@kernel
def _copy(out: NDArray[np.uint8], at: int, text: NDArray[np.uint8]) -> int:
    for i in range(text.size):
        out[at + i] = text[i]
    return at + text.size


@kernel
def _put(out: NDArray[np.uint8], at: int, letter: int) -> int:
    out[at] = letter
    return at + 1
