"""AP on held-out photos during training: whole photos through the network, our decoder, COCO's protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn

from edgepose.arrays import Double
from edgepose.decoding.paf import decode_poses
from edgepose.evaluation import run_cocoeval
from edgepose.geometry import cells_to_pixels, fit_letterbox
from edgepose.poses import Poses
from edgepose.skeleton import COCO17, OPENPOSE18
from edgepose.training.annotations import LABELLED, Photo
from edgepose.training.augmentation import MEAN, SCALE
from edgepose.training.images import ImageCache
from edgepose.training.targets import STRIDE

_LONG_SIDE_PX = 480  # of photos in validation; that of a 3:2 photo at height 320


def held_out_ap(network: nn.Module, photos: Sequence[Photo], cache: ImageCache, device: torch.device) -> float:
    """COCO keypoint AP in percent of the network, in its mode for inference, on photos."""
    results: list[dict[str, Any]] = []
    for photo in photos:
        results += _estimate(network, photo, cache, device).to_coco(photo.id)
    if not results:
        return 0.0
    evaluation = run_cocoeval(_as_coco(photos), results, [photo.id for photo in photos])
    return max(0.0, 100 * float(evaluation.stats[0]))


@torch.inference_mode()
def _estimate(network: nn.Module, photo: Photo, cache: ImageCache, device: torch.device) -> Poses:
    image = cache.read(photo.file_name)
    scale = _LONG_SIDE_PX / max(photo.width, photo.height)
    sides = (-(-max(1, round(side * scale)) // STRIDE) * STRIDE for side in (photo.height, photo.width))
    letterbox = fit_letterbox(photo.height, photo.width, *sides)
    canvas = np.full((letterbox.height, letterbox.width, 3), MEAN, np.float32)
    size = (letterbox.scaled_width, letterbox.scaled_height)
    canvas[: size[1], : size[0]] = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    x = torch.from_numpy((canvas - MEAN) / SCALE).permute(2, 0, 1)[None].to(device)
    *_, heatmaps, pafs = network(x.contiguous(memory_format=torch.channels_last))
    keypoints, scores, confidence = decode_poses(heatmaps[0].float().cpu().numpy(), pafs[0].float().cpu().numpy())
    return Poses(letterbox.to_frame(cells_to_pixels(keypoints, STRIDE)), scores, confidence)


def _as_coco(photos: Sequence[Photo]) -> dict[str, Any]:
    """The people of the photos in COCO's format. Crowds are regions where a wrong person costs nothing."""
    annotations: list[dict[str, Any]] = []
    from_openpose = [OPENPOSE18.keypoints.index(name) for name in COCO17.keypoints]
    for photo in photos:
        for keypoints, states, box, area in zip(photo.keypoints, photo.states, photo.boxes, photo.areas, strict=True):
            labelled = states[from_openpose] == LABELLED
            points = np.column_stack([keypoints[from_openpose], np.full(len(COCO17), 2)]) * labelled[:, None]
            annotations.append(_annotation(photo, tuple(box.tolist()), points, float(area)))
        annotations += [_annotation(photo, crowd.box, np.zeros((len(COCO17), 3))) for crowd in photo.crowds]
    for i, annotation in enumerate(annotations):
        annotation["id"] = i + 1
    images = [{"id": photo.id, "width": photo.width, "height": photo.height} for photo in photos]
    return {"info": {}, "images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]}


def _annotation(photo: Photo, box: tuple[float, ...], points: Double, area: float | None = None) -> dict[str, Any]:
    """A person, or without an area a crowd."""
    x0, y0, x1, y1 = box
    return {
        "image_id": photo.id,
        "category_id": 1,
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": (x1 - x0) * (y1 - y0) if area is None else area,
        "keypoints": points.ravel().tolist(),
        "num_keypoints": int((points[:, 2] > 0).sum()),
        "iscrowd": int(area is None),
    }
