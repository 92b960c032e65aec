"""Crops against the arithmetic of HRNet's published code, written anew with OpenCV: boxes, affine transform and inverse."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edgepose.geometry import fit_crops

PIXEL_STD = 200


def published(box: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """(2, 3) transforms from the frame to the input, and from the heatmap (a quarter of the input) to the frame."""
    x0, y0, x1, y1 = box
    centre = np.array([x0 + (x1 - x0) * 0.5, y0 + (y1 - y0) * 0.5])
    w, h = x1 - x0, y1 - y0
    if w > width / height * h:
        h = w * height / width
    elif w < width / height * h:
        w = h * width / height
    scale = np.array([w, h]) / PIXEL_STD * 1.25

    def transform(output_width: int, output_height: int, inverse: bool) -> np.ndarray:
        source_width = scale[0] * PIXEL_STD
        # Three points: the middle, the one above it by half a width, and the one at a right angle to both.
        steps = np.array([(0, 0), (0, -0.5), (-0.5, -0.5)])
        source = centre + steps * source_width
        target = np.array([output_width / 2, output_height / 2]) + steps * output_width
        pair = (target, source) if inverse else (source, target)
        return cv2.getAffineTransform(*(points.astype(np.float32) for points in pair))

    return transform(width, height, False), transform(width // 4, height // 4, True)


def boxes(count: int) -> np.ndarray:
    random = np.random.default_rng(3)
    corners = random.uniform(0, 1500, (count, 2))
    return np.concatenate([corners, corners + random.uniform(5, 900, (count, 2))], axis=1)


@pytest.mark.parametrize(("height", "width"), [(256, 192), (384, 288), (256, 256), (192, 256)])
def test_crops_equal_the_published_arithmetic(height, width):
    given = boxes(40)
    crops = fit_crops(given, height, width)
    points = np.random.default_rng(4).uniform(0, 1, (40, 17, 2)) * (width // 4, height // 4)
    back = crops.to_frame((points * 4).astype(np.float32))
    for box, matrix, cells, frame_xy in zip(given, crops.matrices, points, back, strict=True):
        forward, inverse = published(box, height, width)
        corners = np.array([[box[0], box[1], 1], [box[2], box[3], 1], [box[0], box[3], 1]])
        np.testing.assert_allclose(corners @ matrix.T, corners @ forward.T, atol=0.01)
        np.testing.assert_allclose(frame_xy, np.column_stack([cells, np.ones(17)]) @ inverse.T, atol=0.01)


def test_a_box_lies_in_the_middle_and_fills_four_fifths():
    crops = fit_crops(np.array([[100.0, 50, 160, 250], [0, 0, 300, 100]]), 256, 192)
    tall, wide = (matrix @ np.array([[x0, y0, 1], [x1, y1, 1]]).T for matrix, (x0, y0, x1, y1) in zip(
        crops.matrices, [(100, 50, 160, 250), (0, 0, 300, 100)], strict=True
    ))  # fmt: skip
    np.testing.assert_allclose(tall[1], [256 * 0.1, 256 * 0.9])
    np.testing.assert_allclose(tall.mean(axis=1), [96, 128])
    np.testing.assert_allclose(wide[0], [192 * 0.1, 192 * 0.9])


def test_to_frame_is_the_inverse_of_the_crop():
    given = boxes(25).astype(np.float32)
    crops = fit_crops(given, 256, 192)
    points = np.random.default_rng(5).uniform(0, 1500, (25, 17, 2))
    there = np.einsum("nij,nkj->nki", crops.matrices, np.concatenate([points, np.ones((25, 17, 1))], axis=2))
    back = crops.to_frame(there.astype(np.float32))
    assert np.abs(back - points).max() < 0.01
    assert back.dtype == np.float32


def test_nobody_has_no_crops():
    crops = fit_crops(np.empty((0, 4), np.float32), 256, 192)
    assert crops.matrices.shape == (0, 2, 3)
    assert crops.to_frame(np.empty((0, 17, 2), np.float32)).shape == (0, 17, 2)


def test_missing_points_stay_missing():
    crops = fit_crops(np.array([[0.0, 0, 30, 40]]), 256, 192)
    assert np.isnan(crops.to_frame(np.full((1, 17, 2), np.nan, np.float32))).all()
