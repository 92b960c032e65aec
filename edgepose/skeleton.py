"""Keypoint sets: names, limbs, PAF channels, flips and OKS sigmas, and the conversions between them.

Two sets cover the models that edgepose runs: OpenPose's 18 keypoints (COCO's 17 and a neck) and COCO's own 17.
"Right" and "left" are the person's own.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from edgepose.arrays import Float
from edgepose.errors import InputError


@dataclass(frozen=True)
class Skeleton:
    """A set of K keypoints with the limbs between them.

    Attributes:
        name: Short name, as models and JSON files give it.
        keypoints: K keypoint names, in the order of the arrays.
        limbs: Pairs of keypoint indices to draw as bones.
        sigmas: (K,) COCO's per-keypoint constants of the object keypoint similarity (OKS).
        flip: (K,) index of the mirrored keypoint (left and right swapped).
    """

    name: str
    keypoints: tuple[str, ...]
    limbs: tuple[tuple[int, int], ...]
    sigmas: tuple[float, ...]
    flip: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        mirror = {"r": "l", "l": "r"}
        names = [f"{mirror[n[0]]}{n[1:]}" if n[1] == "_" else n for n in self.keypoints]
        object.__setattr__(self, "flip", tuple(self.keypoints.index(n) for n in names))

    def __len__(self) -> int:
        return len(self.keypoints)

    def index(self, name: str) -> int:
        """The place of a keypoint in the arrays, by its name: "l_wrist", or in full "left_wrist".

        Raises:
            InputError: The set has no keypoint of that name.
        """
        short = name.replace("left_", "l_", 1).replace("right_", "r_", 1) if isinstance(name, str) else name
        if short not in self.keypoints:
            raise InputError(f"{self.name} has no keypoint {name!r}; expected one of {', '.join(self.keypoints)}")
        return self.keypoints.index(short)


# Sigmas: COCO keypoint evaluation (cocodataset/cocoapi, Params.setKpParams).
_SIGMA = {
    "nose": 0.026,
    "eye": 0.025,
    "ear": 0.035,
    "shoulder": 0.079,
    "elbow": 0.072,
    "wrist": 0.062,
    "hip": 0.107,
    "knee": 0.087,
    "ankle": 0.089,
    # COCO has no neck. OpenPose's is the middle of the shoulders, so it is no more certain than they are.
    "neck": 0.079,
}


def _make(name: str, keypoints: str, limbs: tuple[tuple[int, int], ...]) -> Skeleton:
    names = tuple(keypoints.split())
    return Skeleton(name, names, limbs, tuple(_SIGMA[n.rsplit("_")[-1]] for n in names))


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
COCO17 = _make(
    "coco17",
    "nose l_eye r_eye l_ear r_ear l_shoulder r_shoulder l_elbow r_elbow l_wrist r_wrist l_hip r_hip l_knee r_knee "
    "l_ankle r_ankle",
    (
        (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8),
        (7, 9), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
    ),
)  # fmt: skip

SKELETONS: dict[str, Skeleton] = {s.name: s for s in (OPENPOSE18, COCO17)}


def get_skeleton(name: str) -> Skeleton:
    """The skeleton called `name` ("openpose18" or "coco17").

    Raises:
        InputError: There is no skeleton of that name.
    """
    try:
        return SKELETONS[name]
    except KeyError:
        raise InputError(f"no skeleton is called {name!r}; there are: {', '.join(SKELETONS)}") from None


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
    count = len(keypoints)
    out_keypoints = np.full((count, len(target), 2), np.nan, np.float32)
    out_scores = np.zeros((count, len(target)), np.float32)
    position = {name: i for i, name in enumerate(source.keypoints)}
    for i, name in enumerate(target.keypoints):
        if name in position:
            out_keypoints[:, i] = keypoints[:, position[name]]
            out_scores[:, i] = scores[:, position[name]]
        elif name == "neck":
            shoulders = [position["r_shoulder"], position["l_shoulder"]]
            # NaN spreads: with one shoulder missing there is no neck.
            out_keypoints[:, i] = keypoints[:, shoulders].mean(axis=1)
            out_scores[:, i] = scores[:, shoulders].min(axis=1)
    return out_keypoints, out_scores
