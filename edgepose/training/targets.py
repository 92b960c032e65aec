"""Target maps: heatmaps and part affinity fields (PAFs) of labelled people, and the cells where they are unknown.

Legend: B crops of a batch, K = 18 keypoints, h x w cells of `STRIDE` pixels; the centre of cell i is pixel
`STRIDE * (i + 0.5) - 0.5`. Maps hold 57 channels: K heatmaps, the background, 38 PAF channels in the order of
`edgepose.skeleton.PAF_CHANNELS`. The host lists what is in the crops (`Marks`); the device draws it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from edgepose.arrays import Double, Float, Uint8
from edgepose.skeleton import OPENPOSE18, PAF_CHANNELS, PAF_LIMBS
from edgepose.training.annotations import LABELLED, UNLABELLED

STRIDE = 8
KEYPOINTS = len(OPENPOSE18)
HEATMAPS = KEYPOINTS + 1
CHANNELS = HEATMAPS + 2 * len(PAF_LIMBS)

# Lightweight OpenPose's training (arXiv 1811.12004).
SIGMA_PX = 7.0
LIMB_RADIUS_CELLS = 1.0
_LEAST = 0.01  # a gaussian ends where it falls below

# An `unlabelled` keypoint may be anywhere near its person: in the box grown by half.
BOX_GROWTH = 1.5
_MIN_BOX_PX = 2 * STRIDE  # of one keypoint alone, a box has no size

# Channels that say something about a keypoint: its heatmap, the background, and the limbs that end there.
_ABOUT = np.zeros((KEYPOINTS, CHANNELS), bool)
_ABOUT[np.arange(KEYPOINTS), np.arange(KEYPOINTS)] = True
_ABOUT[:, KEYPOINTS] = True
for _limb, _channels in zip(PAF_LIMBS, PAF_CHANNELS, strict=True):
    for _end in _limb:
        _ABOUT[_end, [HEATMAPS + _channel for _channel in _channels]] = True

_LIMBS = np.array(PAF_LIMBS)
# Channel c of the PAFs is component c % 2 of the limb _LIMB_OF_PAIR[c // 2].
_LIMB_OF_PAIR = [PAF_CHANNELS.index((2 * pair, 2 * pair + 1)) for pair in range(len(PAF_LIMBS))]


@dataclass(frozen=True, eq=False)
class Marks:
    """The labels of B crops, as flat lists in crop pixels, from which `draw_targets` and `draw_weights` make maps.

    Attributes:
        points: (J, 2) labelled keypoints.
        point_slots: (J,) crop * K + keypoint of each.
        limbs: (L, 2, 2) ends of the limbs with both ends labelled.
        limb_slots: (L,) crop * 19 + limb of each.
        gaps: (U, 2, 3) affine maps from crop pixels that take a person's grown box to the square [-1, 1].
        gap_crops: (U,) the crop of each.
        gap_channels: (U, 57) the channels that are unknown there.
    """

    points: Tensor
    point_slots: Tensor
    limbs: Tensor
    limb_slots: Tensor
    gaps: Tensor
    gap_crops: Tensor
    gap_channels: Tensor

    def to(self, device: torch.device) -> Marks:
        """The same lists on a device."""
        return Marks(*(getattr(self, field.name).to(device, non_blocking=True) for field in fields(self)))


@dataclass(frozen=True, eq=False)
class PeopleInCrop:
    """The people of one crop.

    Attributes:
        keypoints: (P, K, 2) in crop pixels.
        states: (P, K) as in `Photo`.
        boxes: (P, 4) x0, y0, x1, y1 in pixels of the photo.
        to_photo: (2, 3) affine map from crop pixels to pixels of the photo.
    """

    keypoints: Float
    states: Uint8
    boxes: Float
    to_photo: Double


def list_marks(crops: Sequence[PeopleInCrop]) -> Marks:
    """The marks of B crops."""
    points, point_slots, limbs, limb_slots, gaps, gap_crops, gap_channels = [], [], [], [], [], [], []
    for crop, people in enumerate(crops):
        labelled = people.states == LABELLED
        person, keypoint = np.nonzero(labelled)
        points.append(people.keypoints[person, keypoint])
        point_slots.append(crop * KEYPOINTS + keypoint)
        person, limb = np.nonzero(labelled[:, _LIMBS].all(axis=2))
        limbs.append(people.keypoints[person[:, None], _LIMBS[limb]])
        limb_slots.append(crop * len(PAF_LIMBS) + limb)
        unlabelled = people.states == UNLABELLED
        for i in np.flatnonzero(unlabelled.any(axis=1)):
            gaps.append(_to_unit_square(people.boxes[i]) @ np.vstack([people.to_photo, (0, 0, 1)]))
            gap_crops.append(crop)
            gap_channels.append(_ABOUT[unlabelled[i]].any(axis=0))
    return Marks(
        torch.from_numpy(np.concatenate(points).astype(np.float32)),
        torch.from_numpy(np.concatenate(point_slots).astype(np.int64)),
        torch.from_numpy(np.concatenate(limbs).astype(np.float32)),
        torch.from_numpy(np.concatenate(limb_slots).astype(np.int64)),
        torch.from_numpy(np.array(gaps, np.float32).reshape(-1, 2, 3)),
        torch.from_numpy(np.array(gap_crops, np.int64)),
        torch.from_numpy(np.array(gap_channels, bool).reshape(-1, CHANNELS)),
    )


def draw_targets(marks: Marks, batch: int, height: int, width: int) -> Tensor:
    """Target maps (B, 57, h, w) of B = `batch` crops, on the device of the marks."""
    heatmaps = _draw_heatmaps(marks, batch, height, width)
    return torch.cat([heatmaps, 1 - heatmaps.amax(dim=1, keepdim=True), _draw_pafs(marks, batch, height, width)], dim=1)


def draw_weights(marks: Marks, crowds: Tensor) -> Tensor:
    """(B, 57, h, w): 1 where the targets are known, 0 where they are not.

    Args:
        marks: Their gaps are unknown in the channels they name.
        crowds: (B, 1, h, w) share of each cell that lies in a crowd; from a half on nothing is known there.
    """
    batch, _, height, width = crowds.shape
    unknown = (crowds >= 0.5).float().repeat(1, CHANNELS, 1, 1)
    if len(marks.gaps):
        x = _centres(width, crowds.device)
        y = _centres(height, crowds.device)
        a = marks.gaps[:, :, :, None, None]  # U, 2, 3, 1, 1
        unit = a[:, :, 0] * x + a[:, :, 1] * y[:, None] + a[:, :, 2]  # U, 2, h, w
        inside = (unit.abs() <= 1).all(dim=1)
        gaps = (inside[:, None] & marks.gap_channels[:, :, None, None]).float()  # U, 57, h, w
        unknown = unknown.maximum(_greatest(gaps, marks.gap_crops, batch))
    return 1 - unknown


def _draw_heatmaps(marks: Marks, batch: int, height: int, width: int) -> Tensor:
    """(B, K, h, w): the greatest of the gaussians around the labelled keypoints."""
    x = _centres(width, marks.points.device)
    y = _centres(height, marks.points.device)
    along_x = torch.exp(-((x - marks.points[:, :1]) ** 2) / (2 * SIGMA_PX**2))  # J, w
    along_y = torch.exp(-((y - marks.points[:, 1:]) ** 2) / (2 * SIGMA_PX**2))  # J, h
    gaussians = along_y[:, :, None] * along_x[:, None, :]
    gaussians = torch.where(gaussians < _LEAST, 0, gaussians)
    return _greatest(gaussians, marks.point_slots, batch * KEYPOINTS).view(batch, KEYPOINTS, height, width)


def _draw_pafs(marks: Marks, batch: int, height: int, width: int) -> Tensor:
    """(B, 38, h, w): unit vectors along the limbs on cells near them, averaged where people's limbs overlap."""
    starts, ends = ((marks.limbs + 0.5) / STRIDE - 0.5).unbind(dim=1)  # L, 2: in cells
    along = ends - starts
    lengths = along.norm(dim=1, keepdim=True)
    units = along / lengths.clamp(min=1e-6)
    columns = torch.arange(width, device=starts.device)
    rows = torch.arange(height, device=starts.device)[:, None]
    dx = columns - starts[:, 0, None, None]  # L, 1, w
    dy = rows - starts[:, 1, None, None]  # L, h, 1
    ux, uy = units[:, 0, None, None], units[:, 1, None, None]
    # Distance to the segment: to the line beside it, to the nearer end beyond it.
    on_line = dx * ux + dy * uy
    beyond = on_line - on_line.clamp(min=0).minimum(lengths[:, :, None])
    near = (dx * uy - dy * ux) ** 2 + beyond**2 <= LIMB_RADIUS_CELLS**2
    # A limb of no length points nowhere.
    near = (near & (lengths[:, :, None] > 1e-3)).float()  # L, h, w

    limbs = len(PAF_LIMBS)
    layers = torch.stack([near * ux, near * uy, near], dim=1)  # L, 3, h, w
    sums = layers.new_zeros(batch * limbs, 3, height, width).index_add_(0, marks.limb_slots, layers)
    fields_xy = sums[:, :2] / sums[:, 2:].clamp(min=1)
    return fields_xy.view(batch, limbs, 2, height, width)[:, _LIMB_OF_PAIR].flatten(1, 2)


def _greatest(layers: Tensor, slots: Tensor, count: int) -> Tensor:
    """(count, ...): in each slot the greatest of its layers (J, ...), none of them negative; 0 where it has none."""
    index = slots.view(-1, *[1] * (layers.ndim - 1)).expand_as(layers)
    return layers.new_zeros(count, *layers.shape[1:]).scatter_reduce_(0, index, layers, "amax")


def _centres(count: int, device: torch.device) -> Tensor:
    """(count,) pixel coordinates of the centres of cells."""
    return STRIDE * (torch.arange(count, device=device) + 0.5) - 0.5


def _to_unit_square(box: Float) -> Double:
    """(2, 3) affine map that takes `box` (x0, y0, x1, y1), grown by half, to [-1, 1]."""
    centre = (box[:2].astype(np.float64) + box[2:]) / 2
    half = np.maximum((box[2:].astype(np.float64) - box[:2]) * BOX_GROWTH, _MIN_BOX_PX) / 2
    return np.array([[1 / half[0], 0, -centre[0] / half[0]], [0, 1 / half[1], -centre[1] / half[1]]])
