"""Crops of photos: each is drawn on the host, as an affine map, and a whole batch is cut on the device at once.

Affine maps are (2, 3) matrices between pixels whose centres lie at integers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from edgepose.arrays import Double, Float
from edgepose.skeleton import OPENPOSE18
from edgepose.training.annotations import LABELLED, Photo
from edgepose.training.targets import PeopleInCrop

# The mean and scale of the network's input, as Lightweight OpenPose has them.
MEAN, SCALE = 128.0, 256.0

# OpenPose-style networks see photos at heights of about 256 to 368, which makes the longer side of COCO's about 390 to
# 550 px; drawn log-uniformly from a wider range.
LONG_SIDE_PX = (320.0, 720.0)
# Someone larger than the greater share of the crop is brought to a share from this range.
PERSON_SHARE = (0.45, 1.15)
ROTATION_DEG = 40.0
BACKGROUND_SHARE = 0.1  # of the crops: centred anywhere, not on a person
GREY_SHARE = 0.05  # of the crops

Affine = Double  # (2, 3)


@dataclass(frozen=True, eq=False)
class Look:
    """The colours of a crop: each channel times its gain, then contrast about the mean, then brightness (of 255).

    Attributes:
        gains: (3,) of blue, green, red.
        contrast, brightness: Factor and shift.
        colour: 1 keeps the colours, 0 makes it grey.
    """

    gains: Float
    contrast: float
    brightness: float
    colour: float


def draw_crop(rng: np.random.Generator, photo: Photo, size: int) -> tuple[Affine, bool]:
    """A random affine map from pixels of the photo to those of a crop of `size` x `size`, and whether it mirrors."""
    scale = np.exp(rng.uniform(*np.log(LONG_SIDE_PX))) / max(photo.width, photo.height)
    whole = np.array([photo.width, photo.height], np.float64)
    centre = rng.uniform(0, 1, 2) * whole
    # Drawn always, so that what follows does not depend on the photo.
    on_somebody, who, share = rng.random(), rng.random(), np.exp(rng.uniform(*np.log(PERSON_SHARE)))
    labelled = photo.states == LABELLED
    people = np.flatnonzero(labelled.any(axis=1))  # of some people nothing is labelled
    if len(people) and on_somebody >= BACKGROUND_SHARE:
        person = people[int(who * len(people))]
        points = photo.keypoints[person][labelled[person]]
        low, high = points.min(axis=0), points.max(axis=0)
        extent = float((high - low).max())
        if extent * scale > PERSON_SHARE[1] * size:
            scale = share * size / extent
        # A small person lies anywhere in the crop, a large one fills it.
        room = max(0.25, 0.9 - extent * scale / size) * size / scale
        centre = (low + high) / 2 + rng.uniform(-0.5, 0.5, 2) * room
    # The crop does not reach beyond a photo that is larger.
    margin = np.minimum(size / 2 / scale, whole / 2)
    centre = np.clip(centre, margin, whole - margin)
    angle = np.deg2rad(ROTATION_DEG) * (rng.uniform(-0.5, 0.5) + rng.uniform(-0.5, 0.5))  # triangular: upright is common
    mirrored = bool(rng.random() < 0.5)
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    linear = np.array([[cos, -sin], [sin, cos]]) @ np.diag([-1.0 if mirrored else 1.0, 1.0])
    return np.column_stack([linear, (size - 1) / 2 - linear @ centre]), mirrored


def draw_look(rng: np.random.Generator) -> Look:
    """A random look."""
    gains = np.exp(rng.normal(0, 0.06, 3)).astype(np.float32)
    grey = rng.random() < GREY_SHARE
    colour = 0.0 if grey else rng.uniform(0.6, 1.3)
    return Look(gains, float(np.exp(rng.normal(0, 0.2))), float(rng.normal(0, 0.07)), float(colour))


def move_people(photo: Photo, to_crop: Affine, mirrored: bool) -> PeopleInCrop:
    """The people of a photo in pixels of a crop; mirrored, their left is their right."""
    keypoints = (photo.keypoints @ to_crop[:, :2].T + to_crop[:, 2]).astype(np.float32)
    states = photo.states
    if mirrored:
        flip = list(OPENPOSE18.flip)
        keypoints, states = keypoints[:, flip], states[:, flip]
    return PeopleInCrop(keypoints, states, photo.boxes, invert(to_crop))


def invert(affine: Affine) -> Affine:
    """The inverse map."""
    linear = np.linalg.inv(affine[:, :2])
    return np.column_stack([linear, -linear @ affine[:, 2]])


def cut_crops(canvases: Tensor, to_canvas: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Crops of a batch of canvases, by one bilinear sampling; beyond a canvas lies the mean colour and no crowd.

    Args:
        canvases: (B, H, W, 4) uint8: blue, green, red, and 255 where a crowd is.
        to_canvas: (B, 2, 3) float32 affine maps from crop pixels to canvas pixels.
        size: Side of the crops.

    Returns:
        Images (B, 3, size, size) centred on 0, in units of 255 levels; crowds (B, 1, size, size) in [0, 1].
    """
    batch, height, width, _ = canvases.shape
    layers = canvases.permute(0, 3, 1, 2).float()
    layers[:, :3] -= MEAN
    # From normalised crop coordinates (-1 to 1 over the outer edges) to normalised canvas coordinates.
    linear = to_canvas[:, :, :2]
    offset = linear.sum(dim=2) * ((size - 1) / 2) + to_canvas[:, :, 2]  # the crop's centre, in canvas pixels
    extent = to_canvas.new_tensor([width, height])
    theta = torch.cat([linear * (size / extent)[:, None], ((2 * offset + 1) / extent - 1)[:, :, None]], dim=2)
    grid = functional.affine_grid(theta, [batch, 4, size, size], align_corners=False)
    crops = functional.grid_sample(layers, grid, mode="bilinear", padding_mode="zeros", align_corners=False) / 255
    return crops[:, :3], crops[:, 3:]


def colour_crops(crops: Tensor, looks: Tensor) -> Tensor:
    """Network input (B, 3, size, size) from crops and their looks.

    Args:
        crops: (B, 3, size, size) of `cut_crops`.
        looks: (B, 6): three gains, contrast, brightness, colour.
    """
    looks = looks[:, :, None, None]
    gains, contrast, brightness, colour = looks[:, :3], looks[:, 3:4], looks[:, 4:5], looks[:, 5:]
    shift = MEAN / 255
    grey = crops.mean(dim=1, keepdim=True)
    crops = grey + (crops - grey) * colour
    crops = ((crops + shift) * gains - shift) * contrast + brightness
    return crops.clamp(-shift, 1 - shift) * (255 / SCALE)


def pack_looks(looks: list[Look]) -> Tensor:
    """The looks (B, 6) that `colour_crops` takes."""
    return torch.tensor([[*look.gains.tolist(), look.contrast, look.brightness, look.colour] for look in looks])
