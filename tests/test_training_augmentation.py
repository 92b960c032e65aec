"""Augmentation: keypoints and pixels move together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch")
pytest.importorskip("pycocotools", reason="training needs pycocotools")

import torch

from edgepose.skeleton import OPENPOSE18
from edgepose.training import augmentation
from edgepose.training.annotations import ABSENT, LABELLED, Crowd, Photo
from edgepose.training.dataset import Batches
from edgepose.training.images import ImageCache

CROP = 96
R_WRIST, L_WRIST = OPENPOSE18.keypoints.index("r_wrist"), OPENPOSE18.keypoints.index("l_wrist")


class Painted:
    """In place of a cache: the right wrist is a blue spot, the left wrist a red one."""

    def __init__(self, photo: Photo, scale: float) -> None:
        height, width = round(photo.height * scale), round(photo.width * scale)
        y, x = np.mgrid[:height, :width]
        self.image = np.full((height, width, 3), 0, np.uint8)
        for keypoint, channel in ((R_WRIST, 0), (L_WRIST, 2)):
            px, py = (photo.keypoints[0, keypoint] + 0.5) * scale - 0.5
            self.image[..., channel] = 255 * np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * (6 * scale) ** 2))

    def read(self, _: str) -> np.ndarray:
        return self.image


def photo(**more: Any) -> Photo:
    keypoints, states = np.zeros((1, 18, 2), np.float32), np.full((1, 18), ABSENT, np.uint8)
    keypoints[0, R_WRIST], keypoints[0, L_WRIST] = (140, 100), (180, 130)
    states[0, [R_WRIST, L_WRIST]] = LABELLED
    fields: dict[str, Any] = {
        "id": 1,
        "file_name": "p",
        "width": 320,
        "height": 240,
        "source": "",
        "areas": np.ones(1, np.float32),
        "crowds": (),
    }
    boxes = np.array([[140, 100, 180, 130]], np.float32)
    return Photo(keypoints=keypoints, states=states, boxes=boxes, **{**fields, **more})


def centroid(layer: torch.Tensor) -> np.ndarray:
    y, x = torch.meshgrid(torch.arange(CROP), torch.arange(CROP), indexing="ij")
    return np.array([float((layer * axis).sum() / layer.sum()) for axis in (x, y)])


@pytest.mark.parametrize("scale", [pytest.param(1.0, id="as-it-is"), pytest.param(0.5, id="reduced")])
def test_keypoints_follow_the_pixels(scale):
    seen = {"mirrored": 0, "plain": 0}
    batches = Batches(
        [photo()], Painted(photo(), scale), batch_size=24, crop=CROP, seed=1, shares={}
    )  # fmt: skip
    batch = batches.at(0)
    crops, _ = augmentation.cut_crops(batch.canvases, batch.to_canvas, CROP)
    spots = (crops + augmentation.MEAN / 255)[:, [0, 2]]  # B, (right, left), y, x
    points, slots = batch.marks.points.numpy(), batch.marks.point_slots.numpy()
    for b in range(24):
        # Where somebody is mirrored, the blue spot is taught as the left wrist.
        inside = points[slots // 18 == b]
        if not ((inside > 16) & (inside < CROP - 17)).all():
            continue
        mirrored = bool(np.linalg.det(batch.to_canvas[b, :, :2].numpy()) < 0)
        seen["mirrored" if mirrored else "plain"] += 1
        for spot, keypoint in enumerate((L_WRIST, R_WRIST) if mirrored else (R_WRIST, L_WRIST)):
            expected = points[slots == b * 18 + keypoint][0]
            beyond = spots[b, spot] * (spots[b, spot] > 0.1) * (spots[b, 1 - spot] < spots[b, spot])
            np.testing.assert_allclose(centroid(beyond), expected, atol=0.6)
    assert min(seen.values()) >= 2, seen


def test_an_upright_crop_copies_the_pixels():
    canvas = torch.randint(0, 256, (1, 40, 48, 4), dtype=torch.uint8)
    crops, crowds = augmentation.cut_crops(canvas, torch.tensor([[[1.0, 0, 10], [0, 1.0, 5]]]), 16)
    expected = canvas[0, 5:21, 10:26].permute(2, 0, 1).float()
    torch.testing.assert_close(crops[0], (expected[:3] - 128) / 255, atol=1e-3, rtol=0)
    torch.testing.assert_close(crowds[0], expected[3:] / 255, atol=1e-3, rtol=0)


def test_beyond_the_photo_lies_the_mean_and_no_crowd():
    canvas = torch.full((1, 32, 32, 4), 255, dtype=torch.uint8)
    crops, crowds = augmentation.cut_crops(canvas, torch.tensor([[[1.0, 0, 100], [0, 1.0, 100]]]), 16)
    assert not crops.any()
    assert not crowds.any()


def test_plain_looks_make_the_input_of_the_network():
    crops = (torch.randint(0, 256, (2, 3, 8, 8)) - 128) / 255
    plain = augmentation.pack_looks([augmentation.Look(np.ones(3, np.float32), 1.0, 0.0, 1.0)] * 2)
    torch.testing.assert_close(augmentation.colour_crops(crops, plain), crops * 255 / 256)


def test_any_look_stays_within_what_images_can_be():
    rng = np.random.default_rng(0)
    looks = augmentation.pack_looks([augmentation.draw_look(rng) for _ in range(50)])
    colours = augmentation.colour_crops(torch.rand(50, 3, 4, 4) - 0.5, looks)
    assert colours.min() >= -0.5
    assert colours.max() <= 127 / 256
    assert colours.std() > 0.1


def test_crops_stay_on_the_photo_and_people_are_of_useful_sizes():
    rng = np.random.default_rng(2)
    scales, turns = [], []
    for _ in range(300):
        to_crop, _ = augmentation.draw_crop(rng, photo(), CROP)
        corners = np.array([[0, 0], [CROP, 0], [0, CROP], [CROP, CROP], [CROP / 2, CROP / 2]]) - 0.5
        to_photo = augmentation.invert(to_crop)
        centre = (corners @ to_photo[:, :2].T + to_photo[:, 2])[-1]
        assert (centre >= -1).all()
        assert (centre <= (321, 241)).all()
        scales.append(np.sqrt(abs(np.linalg.det(to_crop[:, :2]))))
        turns.append(np.rad2deg(np.arctan2(to_crop[1, 0], to_crop[1, 1])))
    assert 320 / 320 * 0.99 < min(scales) < max(scales) < 720 / 320 * 1.01
    assert 25 < np.abs(turns).max() <= 40


def test_crowds_are_cut_with_the_image():
    crowd = Crowd((0.0, 0.0, 320.0, 240.0), None)
    batch = Batches(
        [photo(crowds=(crowd,))], Painted(photo(), 1.0), batch_size=2, crop=CROP, seed=1, shares={}
    ).at(0)  # fmt: skip
    crowds = augmentation.cut_crops(batch.canvases, batch.to_canvas, CROP)[1]
    assert crowds.mean() > 0.9


def test_a_batch_is_a_function_of_its_step_alone():
    cache: ImageCache = Painted(photo(), 1.0)  # type: ignore[assignment]
    batches = Batches([photo()], cache, batch_size=2, crop=CROP, seed=1, shares={})
    ahead = batches.start(5, workers=2)
    for step in (5, 6):
        torch.testing.assert_close(next(ahead).to_canvas, batches.at(step).to_canvas)
    assert not torch.equal(batches.at(5).to_canvas, batches.at(6).to_canvas)
    ahead.close()
