"""A small data set in COCO's format, made up: one person per image, drawn as coloured dots."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

KEYPOINTS = 17


def person(rng: np.random.Generator, width: int, height: int) -> list[float]:
    """51 values: 17 keypoints inside the image."""
    xy = rng.uniform((4, 4), (width - 4, height - 4), (KEYPOINTS, 2)).round(1)
    return np.column_stack([xy, np.full(KEYPOINTS, 2)]).ravel().tolist()


def annotation(number: int, image_id: int, keypoints: list[float], **more: Any) -> dict[str, Any]:
    points = np.array(keypoints).reshape(-1, 3)
    points = points[points[:, 2] > 0, :2]
    low, high = (points.min(axis=0), points.max(axis=0)) if len(points) else (np.zeros(2), np.ones(2))
    return {
        "id": number,
        "image_id": image_id,
        "category_id": 1,
        "iscrowd": 0,
        "keypoints": keypoints,
        "num_keypoints": len(points),
        "bbox": [*low.tolist(), *(high - low).tolist()],
        **more,
    }


def make(folder: Path, images: int = 6, width: int = 64, height: int = 48) -> dict[str, Any]:
    """Write `images` photos and `annotations.json` into the folder; the content of the latter."""
    rng = np.random.default_rng(3)
    content: dict[str, Any] = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "person"}]}
    for i in range(images):
        name = f"{i:03}.png"
        keypoints = person(rng, width, height)
        image = np.full((height, width, 3), 90, np.uint8)
        for k, (x, y, _) in enumerate(np.array(keypoints).reshape(-1, 3)):
            cv2.circle(image, (int(x), int(y)), 2, (15 * k, 255 - 15 * k, 128), -1)
        assert cv2.imwrite(str(folder / name), image)
        source = "a" if i % 2 else "b"
        content["images"].append({"id": 10 + i, "file_name": name, "width": width, "height": height, "source": source})
        content["annotations"].append(annotation(i + 1, 10 + i, keypoints))
    save(folder, content)
    return content


def save(folder: Path, content: dict[str, Any]) -> Path:
    path = folder / "annotations.json"
    path.write_text(json.dumps(content))
    return path
