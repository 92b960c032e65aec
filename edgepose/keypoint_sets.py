"""Keypoint sets as plain data: names in the order of the arrays, limbs, and constants of the object keypoint similarity (OKS).

"l_" and "r_" are the person's own left and right. Each set's comment says where its order, limbs and constants come from.
"""

from __future__ import annotations

Limbs = tuple[tuple[int, int], ...]

# COCO keypoint evaluation (cocodataset/cocoapi, Params.setKpParams), by the last word of a name.
SIGMAS = {
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

COCO17_NAMES = (
    "nose l_eye r_eye l_ear r_ear l_shoulder r_shoulder l_elbow r_elbow l_wrist r_wrist l_hip r_hip l_knee r_knee "
    "l_ankle r_ankle"
)  # fmt: skip
COCO17_LIMBS: Limbs = (
    (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8),
    (7, 9), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
)  # fmt: skip

# MPII Human Pose (human-pose.mpi-inf.mpg.de), in the order of its evaluation, which HRNet's code shares. Sigmas: MPII has none;
# these are mmpose's (configs/_base_/datasets/mpii.py), adapted from COCO's.
MPII16_NAMES = (
    "r_ankle r_knee r_hip l_hip l_knee l_ankle pelvis thorax upper_neck head_top r_wrist r_elbow r_shoulder l_shoulder "
    "l_elbow l_wrist"
)  # fmt: skip
MPII16_LIMBS: Limbs = (
    (0, 1), (1, 2), (2, 6), (6, 3), (3, 4), (4, 5), (6, 7), (7, 8), (8, 9), (8, 12), (12, 11), (11, 10), (8, 13), (13, 14),
    (14, 15),
)  # fmt: skip
MPII16_SIGMAS = (
    0.089, 0.083, 0.107, 0.107, 0.083, 0.089, 0.026, 0.026, 0.026, 0.026, 0.062, 0.072, 0.179, 0.179, 0.072, 0.062,
)  # fmt: skip

# Halpe's 26 body keypoints: COCO's, the head's top, neck and hip, and three of each foot (Fang-Haoshu/Halpe-FullBody). Limbs
# and sigmas as of mmpose (configs/_base_/datasets/halpe26.py), which has the sigmas from Halpe's evaluation.
HALPE26_NAMES = (
    COCO17_NAMES + " head neck hip l_big_toe r_big_toe l_small_toe r_small_toe l_heel r_heel"
)  # fmt: skip
HALPE26_LIMBS: Limbs = (
    (15, 13), (13, 11), (11, 19), (16, 14), (14, 12), (12, 19), (17, 18), (18, 19), (18, 5), (5, 7), (7, 9), (18, 6), (6, 8),
    (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6), (15, 20), (15, 22), (15, 24), (16, 21), (16, 23), (16, 25),
)  # fmt: skip
HALPE26_SIGMAS = (
    0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089,
    0.026, 0.026, 0.066, 0.079, 0.079, 0.079, 0.079, 0.079, 0.079,
)  # fmt: skip

# COCO-WholeBody's 133 (jin-s13/COCO-WholeBody): COCO's, three of each foot, 68 of the face, 21 of each hand. The limbs are
# mmpose's (configs/_base_/datasets/coco_wholebody.py); the hand's root, which lies at the wrist, and the face have none. The
# sigmas are those of COCO-WholeBody's evaluation.
_FINGERS = ("thumb", "forefinger", "middle_finger", "ring_finger", "pinky_finger")
WHOLEBODY133_NAMES = " ".join([
    COCO17_NAMES, "l_big_toe l_small_toe l_heel r_big_toe r_small_toe r_heel", *(f"face_{i}" for i in range(68)),
    *(
        " ".join([f"{side}_hand_root", *(f"{side}_{finger}{joint}" for finger in _FINGERS for joint in range(1, 5))])
        for side in "lr"
    ),
])  # fmt: skip
WHOLEBODY133_LIMBS: Limbs = (
    *COCO17_LIMBS,
    (15, 17), (15, 18), (15, 19), (16, 20), (16, 21), (16, 22),
    *(
        (wrist if joint == 0 else first + joint - 1, first + joint)
        for wrist, root in ((9, 91), (10, 112)) for first in range(root + 1, root + 21, 4) for joint in range(4)
    ),
)  # fmt: skip
WHOLEBODY133_SIGMAS = (
    0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089,
    0.068, 0.066, 0.066, 0.092, 0.094, 0.094, 0.042, 0.043, 0.044, 0.043, 0.040, 0.035, 0.031, 0.025, 0.020, 0.023, 0.029,
    0.032, 0.037, 0.038, 0.043, 0.041, 0.045, 0.013, 0.012, 0.011, 0.011, 0.012, 0.012, 0.011, 0.011, 0.013, 0.015, 0.009,
    0.007, 0.007, 0.007, 0.012, 0.009, 0.008, 0.016, 0.010, 0.017, 0.011, 0.009, 0.011, 0.009, 0.007, 0.013, 0.008, 0.011,
    0.012, 0.010, 0.034, 0.008, 0.008, 0.009, 0.008, 0.008, 0.007, 0.010, 0.008, 0.009, 0.009, 0.009, 0.007, 0.007, 0.008,
    0.011, 0.008, 0.008, 0.008, 0.010, 0.008, 0.029, 0.022, 0.035, 0.037, 0.047, 0.026, 0.025, 0.024, 0.035, 0.018, 0.024,
    0.022, 0.026, 0.017, 0.021, 0.021, 0.032, 0.020, 0.019, 0.022, 0.031, 0.029, 0.022, 0.035, 0.037, 0.047, 0.026, 0.025,
    0.024, 0.035, 0.018, 0.024, 0.022, 0.026, 0.017, 0.021, 0.021, 0.032, 0.020, 0.019, 0.022, 0.031,
)  # fmt: skip
# The face is mirrored by numbers: outline 0-16, brows 17-26, nose 27-35, eyes 36-47, lips 48-67. Each pair once.
_FACE_PAIRS = (
    *((i, 16 - i) for i in range(8)), *((17 + i, 26 - i) for i in range(5)), (31, 35), (32, 34),
    (36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46),
    *((48 + i, 54 - i) for i in range(3)), (55, 59), (56, 58), (60, 64), (61, 63), (65, 67),
)  # fmt: skip
WHOLEBODY133_FLIPS = tuple((f"face_{a}", f"face_{b}") for a, b in _FACE_PAIRS)
