"""Drawn poses: where the lines are, what colour they have, and that nothing breaks them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from synthetic.opencv_drawing import draw_with_opencv
from synthetic.scenes import place_people

from edgepose.drawing import draw_figures, draw_poses, person_colour
from edgepose.errors import InputError
from edgepose.kernels.capsules import draw_capsules
from edgepose.poses import Poses
from edgepose.skeleton import COCO17, OPENPOSE18, Skeleton

# A person from the front, in a box of height 1: the right side is at the left of the picture.
STANDING = {
    "nose": (0.25, 0.08), "neck": (0.25, 0.18), "r_eye": (0.23, 0.06), "l_eye": (0.27, 0.06), "r_ear": (0.2, 0.07),
    "l_ear": (0.3, 0.07), "r_shoulder": (0.15, 0.2), "l_shoulder": (0.35, 0.2), "r_elbow": (0.08, 0.35),
    "l_elbow": (0.42, 0.35), "r_wrist": (0.05, 0.5), "l_wrist": (0.45, 0.5), "r_hip": (0.18, 0.52), "l_hip": (0.32, 0.52),
    "r_knee": (0.17, 0.74), "l_knee": (0.33, 0.74), "r_ankle": (0.16, 0.95), "l_ankle": (0.34, 0.95),
}  # fmt: skip


def standing(
    count: int = 1,
    *,
    skeleton: Skeleton = OPENPOSE18,
    height: float = 300,
    ids: list[int] | None = None,
    left: float = 20,
    top: float = 20,
) -> Poses:
    """People side by side."""
    person = np.array([STANDING[name] for name in skeleton.keypoints], np.float32) * height
    offsets = np.array([(left + i * height * 0.5, top) for i in range(count)], np.float32)
    keypoints = person + offsets[:, None]
    scores, confidence = np.ones((count, len(skeleton)), np.float32), np.ones(count, np.float32)
    return Poses(keypoints, scores, confidence, skeleton, None if ids is None else np.array(ids))


def blank(height: int = 360, width: int = 640) -> NDArray[np.uint8]:
    return np.full((height, width, 3), 128, np.uint8)


def at(image: NDArray[np.uint8], poses: Poses, *names: str, person: int = 0) -> list[int]:
    """The colour in the middle between keypoints."""
    x, y = poses.keypoints[person, [poses.skeleton.keypoints.index(n) for n in names]].mean(axis=0)
    return image[round(float(y)), round(float(x))].tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("skeleton", [OPENPOSE18, COCO17], ids=lambda s: s.name)
@pytest.mark.parametrize("color_by", ["limb", "person"])
def test_every_limb_and_joint_is_drawn_on_a_copy(skeleton: Skeleton, color_by: str) -> None:
    image, poses = blank(), standing(skeleton=skeleton)
    image.flags.writeable = False
    drawn = draw_poses(image, poses, color_by=color_by)  # type: ignore[arg-type]
    assert drawn.dtype == np.uint8
    assert drawn.shape == image.shape
    assert (image == 128).all()
    for a, b in skeleton.limbs:
        assert at(drawn, poses, skeleton.keypoints[a], skeleton.keypoints[b]) != [128] * 3
    for name in skeleton.keypoints:
        assert at(drawn, poses, name) != [128] * 3


def test_the_right_side_is_warm_and_the_left_is_cool() -> None:
    for skeleton in (OPENPOSE18, COCO17):
        poses = standing(skeleton=skeleton)
        drawn = draw_poses(blank(), poses)
        for limb in (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle")):
            blue, _, red = at(drawn, poses, *(f"r_{name}" for name in limb))
            assert red > blue + 100
            blue, _, red = at(drawn, poses, *(f"l_{name}" for name in limb))
            assert blue > red + 100


def test_arms_and_legs_differ() -> None:
    poses = standing()
    drawn = draw_poses(blank(), poses)
    for side in "rl":
        arm, leg = at(drawn, poses, f"{side}_elbow", f"{side}_wrist"), at(drawn, poses, f"{side}_hip", f"{side}_knee")
        assert np.abs(np.subtract(arm, leg)).max() > 50


def test_identities_keep_their_colours_wherever_they_stand_in_the_list() -> None:
    one, two = standing(2, ids=[7, 3]), standing(2, ids=[3, 7])
    first = draw_poses(blank(), one, color_by="person")
    second = draw_poses(blank(), two, color_by="person")
    knee, ankle = "r_knee", "r_ankle"
    assert at(first, one, knee, ankle, person=0) == at(second, two, knee, ankle, person=1) == list(person_colour(7))
    assert at(first, one, knee, ankle, person=1) == at(second, two, knee, ankle, person=0) == list(person_colour(3))


def test_neighbouring_identities_look_different() -> None:
    colours = np.array([person_colour(i) for i in range(50)])
    for distance in (1, 2, 3, 4):
        assert np.abs(colours[distance:] - colours[:-distance]).max(axis=1).min() > 40


def test_identities_are_written_at_the_head() -> None:
    plain, named = draw_poses(blank(), standing()), draw_poses(blank(), standing(ids=[12]))
    rows, columns = np.nonzero((plain != named).any(axis=2))
    assert 0 < rows.size < 2000
    assert rows.max() < 20 + 0.08 * 300
    assert abs(columns.mean() - (20 + 0.25 * 300)) < 15


@pytest.mark.parametrize(("left", "top"), [(-70, 20), (640 - 75, 20), (20, -17), (20, 340)])
def test_the_number_of_somebody_at_the_edge_is_whole(left: float, top: float) -> None:
    label = (
        draw_poses(blank(), standing(ids=[88], left=left, top=top)) != draw_poses(blank(), standing(left=left, top=top))
    ).any(axis=2)
    middle = (draw_poses(blank(), standing(ids=[88], left=200)) != draw_poses(blank(), standing(left=200))).any(axis=2)
    assert label.sum() > 0.6 * middle.sum()  # What is not a difference lies on the head.


def shin_width(height: int, thickness: int | None = None) -> float:
    """The width in pixels of a coloured shin in a picture of this height."""
    image = draw_poses(blank(height, 2 * height), standing(height=0.8 * height), thickness=thickness)
    row = image[round(20 + 0.85 * 0.8 * height)].astype(int)
    return float((np.ptp(row, axis=1) > 60).sum() / 2)


def test_lines_grow_with_the_picture() -> None:
    # The antialiased edges count as well.
    assert shin_width(360) == pytest.approx(2 + 2, abs=1)
    assert shin_width(720) == pytest.approx(4 + 2, abs=1)
    assert shin_width(2160) == pytest.approx(14 + 2, abs=1)


def test_thickness_can_be_chosen() -> None:
    for thickness in (3, 8, 20):
        assert shin_width(720, thickness) == pytest.approx(thickness + 2, abs=1)


def test_low_scores_are_left_out_with_their_limbs() -> None:
    poses = standing()
    scores = poses.scores.copy()
    scores[0, OPENPOSE18.keypoints.index("r_knee")] = 0.2
    poses = Poses(poses.keypoints, scores, poses.confidence)
    drawn = draw_poses(blank(), poses, min_score=0.3)
    for names in (("r_knee",), ("r_hip", "r_knee"), ("r_knee", "r_ankle")):
        assert at(drawn, poses, *names) == [128] * 3
        assert at(draw_poses(blank(), poses, min_score=0.2), poses, *names) != [128] * 3
    assert at(drawn, poses, "r_ankle") != [128] * 3


def test_missing_points_are_not_drawn() -> None:
    poses = standing()
    keypoints, scores = poses.keypoints.copy(), poses.scores.copy()
    keypoints[0, :8], scores[0, :8] = np.nan, 0
    drawn = draw_poses(blank(), Poses(keypoints, scores, poses.confidence))
    assert (drawn[70:170] == 128).all(), "nothing between the face and the hips"


@pytest.mark.parametrize("far", [-500.0, 5e3, 9.9e5, 1e7, -3e38, np.inf, -np.inf])
@pytest.mark.parametrize("color_by", ["limb", "person"])
def test_points_far_outside_do_no_harm(far: float, color_by: str) -> None:
    poses = standing(2, ids=[1, 2])
    keypoints = poses.keypoints.copy()
    keypoints[0, ::2] = far
    keypoints[1, :, 0] = far
    drawn = draw_poses(blank(), Poses(keypoints, poses.scores, poses.confidence, ids=poses.ids), color_by=color_by)  # type: ignore[arg-type]
    assert drawn.shape == (360, 640, 3)


@pytest.mark.parametrize("poses", [Poses.empty(), Poses.empty(COCO17)])
def test_nobody(poses: Poses) -> None:
    image = blank()
    drawn = draw_poses(image, poses)
    np.testing.assert_array_equal(drawn, image)
    assert not np.shares_memory(drawn, image)


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (7, 3)])
def test_tiny_pictures(size: tuple[int, int]) -> None:
    assert draw_poses(blank(*size), standing(3, ids=[1, 2, 3])).shape == (*size, 3)


def test_views_are_taken() -> None:
    image = blank()[::2, ::-1]
    assert draw_poses(image, standing(height=100)).shape == image.shape


@pytest.mark.parametrize("kind", [np.memmap, np.recarray], ids=lambda kind: kind.__name__)
def test_subclasses_of_arrays_are_taken(tmp_path: Path, kind: type[Any]) -> None:
    if kind is np.memmap:
        image = np.memmap(tmp_path / "frame", np.uint8, "w+", shape=(360, 640, 3))
        image[:] = 128
    else:
        image = blank().view(kind)
    expected = draw_poses(blank(), standing())
    assert (np.asarray(draw_poses(image, standing())) == expected).all()
    assert (np.asarray(draw_poses(image, standing(), out=image)) == expected).all()
    assert (np.asarray(image) == expected).all()


def test_a_view_is_drawn_like_its_copy() -> None:
    large = np.random.default_rng(0).integers(0, 256, (400, 700, 3), np.uint8)
    for view in (large[::-1], large[:, ::-1], large[::2, 1::2], large[..., ::-1], large.transpose(1, 0, 2)):
        before = view.copy()
        assert (draw_poses(view, standing(2, ids=[1, 2])) == draw_poses(before, standing(2, ids=[1, 2]))).all()
        assert (view == before).all()


def crowd(people: int, height: int, width: int, *, ids: bool = False, seed: int = 0) -> Poses:
    keypoints = place_people(np.random.default_rng(seed), people, height, width)
    scores = (np.random.default_rng(seed).random((people, 18)) < 0.9).astype(np.float32)
    keypoints[scores == 0] = np.nan
    return Poses(keypoints, scores, np.ones(people, np.float32), ids=np.arange(people)[::-1] if ids else None)


@pytest.mark.parametrize("size", [(360, 640), (540, 960), (720, 1280), (1080, 1920)], ids=str)
@pytest.mark.parametrize("color_by", ["limb", "person"])
@pytest.mark.parametrize("people", [1, 12])
def test_it_looks_as_drawn_by_opencv(size: tuple[int, int], color_by: Literal["limb", "person"], people: int) -> None:
    """Lines of the same width in the same order; their edges, which are most of thin ones, differ by a part of a pixel."""
    image, poses = blank(*size), crowd(people, *size)
    drawn, opencvs = (draw(image, poses, color_by=color_by) for draw in (draw_poses, draw_with_opencv))
    difference = np.abs(drawn.astype(int) - opencvs).max(axis=2)
    touched = (drawn != image).any(axis=2) | (opencvs != image).any(axis=2)
    assert difference[touched].mean() < (12 if size[0] < 500 else 7)  # grey levels
    assert (difference[touched] > 60).mean() < (0.04 if size[0] < 500 else 0.01)
    # Within lines, and away from them, the pictures are the same.
    kernel = np.ones((3, 3), np.uint8)
    flat = (cv2.erode(opencvs, kernel) == cv2.dilate(opencvs, kernel)).all(axis=2)
    assert (flat & touched).any()
    assert difference[flat].mean() < 0.001


def test_whoever_comes_first_lies_on_top() -> None:
    poses = standing(2, ids=[4, 9])
    same_place = Poses(poses.keypoints[[0, 0]], poses.scores, poses.confidence, ids=poses.ids)
    drawn = draw_poses(blank(), same_place, color_by="person")
    assert at(drawn, same_place, "r_knee", "r_ankle") == list(person_colour(4))


@pytest.mark.parametrize("thickness", [0, -3, 10**4, 10**9])
def test_any_thickness_is_drawn(thickness: int) -> None:
    drawn = draw_poses(blank(90, 160), standing(2, height=80, ids=[3, 12345]), thickness=thickness)
    assert (drawn != 128).any()


def test_the_kernel_is_compiled_once() -> None:
    """Whatever the picture, the skeleton and the people are."""
    before = set(draw_capsules.signatures)  # type: ignore[attr-defined]
    for image in (blank(), blank()[::2, ::-1], blank(1, 9), blank(9, 1)):
        for skeleton in (OPENPOSE18, COCO17):
            for people in (1, 2):
                for color_by in ("limb", "person"):
                    draw_poses(image, standing(people, skeleton=skeleton), color_by=color_by)  # type: ignore[arg-type]
    assert len(set(draw_capsules.signatures) - before) <= 1  # type: ignore[attr-defined]


def test_nothing_is_compiled_where_nobody_is_drawn() -> None:
    script = (
        "import numpy as np, edgepose; from edgepose.kernels.capsules import draw_capsules;"
        "edgepose.draw_poses(np.zeros((9, 9, 3), np.uint8), edgepose.Poses.empty()); assert not draw_capsules.signatures"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(InputError, match="expected an image"):
        draw_poses(np.zeros((4, 4), np.uint8), standing())


def test_an_unknown_colouring_is_refused() -> None:
    with pytest.raises(InputError, match="color_by is 'joint'; expected 'limb' or 'person'"):
        draw_poses(blank(), standing(), color_by="joint")  # type: ignore[arg-type]


def test_it_draws_where_it_is_told_to() -> None:
    image, poses = blank(), standing(2)
    expected = draw_poses(image, poses)
    other = np.zeros_like(image)
    assert draw_poses(image, poses, out=other) is other
    assert (other == expected).all()
    assert (image == blank()).all()
    assert draw_poses(image, poses, out=image) is image
    assert (image == expected).all()
    nobody = np.zeros_like(image)
    assert (draw_poses(blank(), poses[[]], out=nobody) == blank()).all()


def test_it_does_not_draw_where_it_cannot() -> None:
    read_only = blank()
    read_only.flags.writeable = False
    outs: dict[str, Any] = {
        "float32": blank().astype(np.float32),
        "(360, 600, 3)": blank(360, 600),
        "read-only": read_only,
        "non-contiguous": np.zeros((360, 1280, 3), np.uint8)[:, ::2],
    }
    for found, out in outs.items():
        with pytest.raises(InputError, match=re.escape(found)):
            draw_poses(blank(), standing(), out=out)


@pytest.mark.parametrize("size", [(720, 1280), (1280, 720), (40, 60)], ids=str)
def test_figures_are_written_into_a_corner_of_a_copy(size: tuple[int, int]) -> None:
    image = np.full((*size, 3), 128, np.uint8)
    drawn = draw_figures(image, fps=29.97, people=2)
    assert (image == 128).all()
    rows, columns = np.nonzero((drawn != image).any(axis=2))
    assert len(rows) > 20
    assert rows.max() < max(0.1 * size[0], 24)
    with_dropped = draw_figures(image, fps=29.97, people=2, dropped=7)
    assert (with_dropped != drawn).any() or columns.max() > size[1] - 3  # no room for dropped frames
