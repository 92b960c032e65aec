"""Held-out AP: targets, decoder and protocol agree, so a network that knows the targets scores as well as can be."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import training_data

pytest.importorskip("torch", reason="training needs torch")
pytest.importorskip("pycocotools", reason="training needs pycocotools")

import torch

from edgepose.training.annotations import OUTLINE_SHARE, UNLABELLED, read_annotations
from edgepose.training.images import ImageCache, ImageStore
from edgepose.training.targets import PeopleInCrop, draw_targets, list_marks
from edgepose.training.validation import held_out_ap

CPU = torch.device("cpu")
# A standing person of 100 x 200, in COCO's order. Placed at odd fractions below, as the decoder's peaks are higher than all
# of their neighbours, and a keypoint exactly between two pixels has two that are equally high.
STANDING = [
    (50, 20), (54, 15), (46, 15), (60, 18), (40, 18), (70, 45), (30, 45), (80, 75), (20, 75),
    (85, 105), (15, 105), (62, 110), (38, 110), (64, 150), (36, 150), (66, 190), (34, 190),
]  # fmt: skip


class Oracle(torch.nn.Module):
    """Knows the people of a photo; `shift_px` spoils what it says."""

    def __init__(self, photo, shift_px: float = 0.0) -> None:
        super().__init__()
        self.photo, self.shift_px = photo, shift_px

    def forward(self, x):
        scale = 480 / max(self.photo.width, self.photo.height)
        points = ((self.photo.keypoints + 0.5) * scale - 0.5 + self.shift_px).astype(np.float32)
        people = PeopleInCrop(points, self.photo.states, self.photo.boxes, np.eye(2, 3))
        maps = draw_targets(list_marks([people]), 1, x.shape[2] // 8, x.shape[3] // 8)
        return [torch.zeros_like(maps), torch.zeros_like(maps), maps[:, :19], maps[:, 19:]]


@pytest.fixture
def photos(tmp_path):
    content = training_data.make(tmp_path, images=1, width=320, height=240)
    for i, left in enumerate((10.29, 180.17)):
        xy = np.array(STANDING) + np.array([left, 20.23])
        keypoints = np.column_stack([xy, np.full(17, 2)]).ravel().tolist()
        content["annotations"][i : i + 1] = [training_data.annotation(i + 1, 10, keypoints)]
    return read_annotations(training_data.save(tmp_path, content)), ImageCache(ImageStore(tmp_path), max_side=512, max_bytes=0)


@pytest.mark.parametrize(
    ("shift_px", "low", "high"),
    [pytest.param(0, 99, 100, id="right"), pytest.param(10, 5, 80, id="near"), pytest.param(90, 0, 1, id="far")],
)
def test_ap_is_full_for_the_targets_and_falls_with_their_distance(photos, shift_px, low, high):
    (photo,), cache = photos
    assert len(photo.keypoints) == 2
    assert low <= held_out_ap(Oracle(photo, shift_px), [photo], cache, CPU) <= high


def test_where_nobody_is_found_ap_is_zero(photos):
    (photo,), cache = photos
    assert held_out_ap(Oracle(photo, 1e6), [photo], cache, CPU) == 0


def test_areas_are_those_annotated_or_a_share_of_the_box(tmp_path):
    content = training_data.make(tmp_path, images=2)
    content["annotations"][0].update(area=321.0)
    content["annotations"][1].update(bbox=[2, 2, 20, 30])
    first, second = read_annotations(training_data.save(tmp_path, content))
    assert first.areas.tolist() == [321]
    assert second.areas.tolist() == pytest.approx([OUTLINE_SHARE * 600])


@pytest.mark.parametrize(("width", "height"), [(1, 2000), (2000, 1), (3, 500), (1, 1)])
def test_photos_of_any_aspect_can_be_held_out(tmp_path, width, height):
    content = training_data.make(tmp_path, images=1, width=64, height=48)
    cv2.imwrite(str(tmp_path / "000.png"), np.zeros((height, width, 3), np.uint8))
    content["images"][0].update(width=width, height=height)
    keypoints = [0.0, 0.0, 2.0] * 17
    content["annotations"] = [training_data.annotation(1, 10, keypoints)]
    (photo,) = read_annotations(training_data.save(tmp_path, content))
    cache = ImageCache(ImageStore(tmp_path), max_side=512, max_bytes=0)
    assert held_out_ap(Oracle(photo), [photo], cache, CPU) >= 0


def test_people_of_whom_nothing_is_labelled_neither_help_nor_harm(photos, tmp_path):
    (photo,), cache = photos
    states = np.array([photo.states[0], np.full_like(photo.states[1], UNLABELLED)])
    half_labelled = replace(photo, states=states)
    assert held_out_ap(Oracle(photo), [half_labelled], cache, CPU) == pytest.approx(100)
    nobody = replace(photo, states=np.full_like(states, UNLABELLED))
    assert held_out_ap(Oracle(photo), [nobody], cache, CPU) == 0
