"""Keypoint sets: names, limbs, PAF channels, flips and OKS sigmas, and the conversions between them.

The sets that models come with have names (`SKELETONS`); a model of another set describes its own (`make_skeleton`).
"Right" and "left" are the person's own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgepose.errors import InputError
from edgepose.keypoint_sets import (
    COCO17_LIMBS,
    COCO17_NAMES,
    HALPE26_LIMBS,
    HALPE26_NAMES,
    HALPE26_SIGMAS,
    MPII16_LIMBS,
    MPII16_NAMES,
    MPII16_SIGMAS,
    SIGMAS,
    WHOLEBODY133_FLIPS,
    WHOLEBODY133_LIMBS,
    WHOLEBODY133_NAMES,
    WHOLEBODY133_SIGMAS,
    Limbs,
)

if TYPE_CHECKING:
    from edgepose.arrays import Float

MAX_KEYPOINTS = 1000  # No model comes near it.
# OKS tolerance of a keypoint that COCO has none for, and a description says nothing of: as wide as of a shoulder.
OTHER_SIGMA = 0.079
_MIRROR = {"l": "r", "r": "l", "left": "right", "right": "left"}


@dataclass(frozen=True)
class Skeleton:
    """A set of K keypoints with the limbs between them.

    Attributes:
        name: Short name, as models and JSON files give it.
        keypoints: K keypoint names, in the order of the arrays.
        limbs: Pairs of keypoint indices to draw as bones.
        sigmas: (K,) COCO's per-keypoint constants of the object keypoint similarity (OKS).
        flip: (K,) index of the mirrored keypoint (left and right swapped). Left out, it follows from names that begin with
            "l_" and "r_", or "left_" and "right_".
    """

    name: str
    keypoints: tuple[str, ...]
    limbs: tuple[tuple[int, int], ...]
    sigmas: tuple[float, ...]
    flip: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.flip:
            object.__setattr__(self, "flip", flip_by_name(self.keypoints))

    def __len__(self) -> int:
        return len(self.keypoints)

    def index(self, name: str) -> int:
        """The place of a keypoint in the arrays, by its name: "l_wrist", or in full "left_wrist".

        Raises:
            InputError: The set has no keypoint of that name.
        """
        short = name.replace("left_", "l_", 1).replace("right_", "r_", 1) if isinstance(name, str) else name
        short = name if name in self.keypoints else short
        if short not in self.keypoints:
            raise InputError(f"{self.name} has no keypoint {name!r}; expected one of {', '.join(self.keypoints)}")
        return self.keypoints.index(short)


def flip_by_name(names: Iterable[str]) -> tuple[int, ...]:
    """(K,) the place of each keypoint's mirror image: the one with the other side in its name, or itself if there is none."""
    names = tuple(names)
    flip = []
    for place, name in enumerate(names):
        side, _, rest = name.partition("_")
        other = f"{_MIRROR[side]}_{rest}" if side in _MIRROR else name
        flip.append(names.index(other) if other in names else place)
    return tuple(flip)


def sigmas_by_name(names: Iterable[str]) -> tuple[float, ...]:
    """(K,) COCO's constant of each keypoint, by the last word of its name; `OTHER_SIGMA` where it has none."""
    return tuple(SIGMAS.get(name.rpartition("_")[2], OTHER_SIGMA) for name in names)


def _make(name: str, keypoints: str, limbs: Limbs, sigmas: tuple[float, ...] = (), flip: tuple[int, ...] = ()) -> Skeleton:
    names = tuple(keypoints.split())
    return Skeleton(name, names, limbs, sigmas or sigmas_by_name(names), flip)


# The 19 limbs (a, b) of the PAF models, with the channels of the (x, y) field of each. Source: the OpenPose COCO model,
# as used by Lightweight OpenPose (arXiv 1811.12004).
PAF_LIMBS: tuple[tuple[int, int], ...] = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11),
    (11, 12), (12, 13), (1, 0), (0, 14), (14, 16), (0, 15), (15, 17), (2, 16), (5, 17),
)  # fmt: skip
PAF_CHANNELS: tuple[tuple[int, int], ...] = (
    (12, 13), (20, 21), (14, 15), (16, 17), (22, 23), (24, 25), (0, 1), (2, 3), (4, 5), (6, 7),
    (8, 9), (10, 11), (28, 29), (30, 31), (34, 35), (32, 33), (36, 37), (18, 19), (26, 27),
)  # fmt: skip

OPENPOSE18 = _make(
    "openpose18",
    "nose neck r_shoulder r_elbow r_wrist l_shoulder l_elbow l_wrist r_hip r_knee r_ankle l_hip l_knee l_ankle "
    "r_eye l_eye r_ear l_ear",
    # The last two PAF limbs (shoulder to ear) help grouping but are no bones.
    PAF_LIMBS[:17],
)
COCO17 = _make("coco17", COCO17_NAMES, COCO17_LIMBS)
MPII16 = _make("mpii16", MPII16_NAMES, MPII16_LIMBS, MPII16_SIGMAS)
HALPE26 = _make("halpe26", HALPE26_NAMES, HALPE26_LIMBS, HALPE26_SIGMAS)


def _with_pairs(names: tuple[str, ...], pairs: Iterable[tuple[str, str]]) -> tuple[int, ...]:
    """(K,) the mirror images by name, and by `pairs` of names where those say more."""
    flip = list(flip_by_name(names))
    for one, other in pairs:
        flip[names.index(one)], flip[names.index(other)] = names.index(other), names.index(one)
    return tuple(flip)


WHOLEBODY133 = _make(
    "wholebody133",
    WHOLEBODY133_NAMES,
    WHOLEBODY133_LIMBS,
    WHOLEBODY133_SIGMAS,
    _with_pairs(tuple(WHOLEBODY133_NAMES.split()), WHOLEBODY133_FLIPS),
)

SKELETONS: dict[str, Skeleton] = {s.name: s for s in (OPENPOSE18, COCO17, MPII16, HALPE26, WHOLEBODY133)}


def get_skeleton(name: str | Skeleton) -> Skeleton:
    """The skeleton called `name`, such as "coco17"; a skeleton is itself.

    Raises:
        InputError: There is no skeleton of that name.
    """
    if isinstance(name, Skeleton):
        return name
    try:
        return SKELETONS[name]
    except KeyError:
        raise InputError(f"no skeleton is called {name!r}; there are: {', '.join(SKELETONS)}") from None


def make_skeleton(fields: Mapping[Any, Any]) -> Skeleton:
    """The skeleton that plain data describe, such as a piece of YAML.

    Args:
        fields: `name`; `keypoints`, a list of K names; `limbs`, pairs of names or places (default: none); `flips`, pairs that
            are each other's mirror image (default: by the names' sides); `sigmas`, K numbers (default: COCO's by the names).

    Raises:
        InputError: Something is missing, unknown or does not fit.
    """
    expected = ("name", "keypoints", "limbs", "flips", "sigmas")
    for field in fields:
        if field not in expected:
            raise InputError(f"a skeleton has no field {str(field)[:80]!r}; expected {', '.join(expected)}")
    name, names = fields.get("name"), fields.get("keypoints")
    if not isinstance(name, str) or not name.strip() or name in SKELETONS:
        raise InputError(f"a skeleton's name is {str(name)[:80]!r}; expected a text that is none of {', '.join(SKELETONS)}")
    if not isinstance(names, list | tuple) or not 1 <= len(names) <= MAX_KEYPOINTS or not all(map(_is_name, names)):
        raise InputError(
            f"the keypoints of {name} are {str(names)[:80]}; expected a list of 1 to {MAX_KEYPOINTS} names, such as l_heel"
        )
    if len(set(names)) < len(names):
        twice = next(each for each in names if names.count(each) > 1)
        raise InputError(f"{name} has the keypoint {twice} twice; expected names that differ")
    flips = _pairs(fields.get("flips"), names, "flips")
    sigmas = fields.get("sigmas") or sigmas_by_name(names)
    if not isinstance(sigmas, list | tuple) or len(sigmas) != len(names) or not all(map(_is_sigma, sigmas)):
        raise InputError(f"the sigmas of {name} are {str(sigmas)[:80]}; expected {len(names)} numbers above 0, to 1")
    flip = _with_pairs(tuple(names), [(names[a], names[b]) for a, b in flips])
    return Skeleton(name, tuple(names), _pairs(fields.get("limbs"), names, "limbs"), tuple(map(float, sigmas)), flip)


def describe_skeleton(skeleton: Skeleton) -> dict[str, Any]:
    """The fields that `make_skeleton` makes the same skeleton of."""
    names = skeleton.keypoints
    return {
        "name": skeleton.name,
        "keypoints": list(names),
        "limbs": [[names[a], names[b]] for a, b in skeleton.limbs],
        "flips": [[names[a], names[b]] for a, b in enumerate(skeleton.flip) if a < b],
        "sigmas": list(skeleton.sigmas),
    }


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value.strip()) <= 80


def _is_sigma(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and 0 < value <= 1


def _pairs(given: Any, names: list[str] | tuple[str, ...], what: str) -> Limbs:
    """Pairs of keypoints, by name or place, as pairs of places."""
    pairs = []
    for pair in given if isinstance(given, list | tuple) else [] if given is None else [given]:
        places = [
            end if isinstance(end, int) and not isinstance(end, bool) else names.index(end) if end in names else -1
            for end in (pair if isinstance(pair, list | tuple) else [pair])
        ]
        if len(places) != 2 or not all(0 <= place < len(names) for place in places) or places[0] == places[1]:
            raise InputError(f"one of the {what} is {str(pair)[:80]}; expected two different keypoints, by name or place")
        pairs.append((places[0], places[1]))
    if what == "flips" and len({end for pair in pairs for end in pair}) < 2 * len(pairs):
        raise InputError(f"a keypoint is in two of the {what}; expected each in one at most")
    return tuple(pairs)


def convert(keypoints: Float, scores: Float, source: Skeleton, target: Skeleton) -> tuple[Float, Float]:
    """Keypoints of one set as those of another, by name; the neck is the middle of two shoulders that were found.

    Args:
        keypoints: (N, K, 2) with NaN where not found.
        scores: (N, K), 0 where not found.
        source: The set of the arrays, K keypoints.
        target: The set wanted, K' keypoints.

    Returns:
        Keypoints (N, K', 2) and scores (N, K'); what `source` does not have is NaN with score 0.
    """
    import numpy as np  # Here alone, so that descriptions of models are read without it.

    count = len(keypoints)
    out_keypoints = np.full((count, len(target), 2), np.nan, np.float32)
    out_scores = np.zeros((count, len(target)), np.float32)
    position = {name: i for i, name in enumerate(source.keypoints)}
    for i, name in enumerate(target.keypoints):
        if name in position:
            out_keypoints[:, i] = keypoints[:, position[name]]
            out_scores[:, i] = scores[:, position[name]]
        elif name == "neck" and {"r_shoulder", "l_shoulder"} <= position.keys():
            shoulders = [position["r_shoulder"], position["l_shoulder"]]
            # NaN spreads: with one shoulder missing there is no neck.
            out_keypoints[:, i] = keypoints[:, shoulders].mean(axis=1)
            out_scores[:, i] = scores[:, shoulders].min(axis=1)
    return out_keypoints, out_scores
