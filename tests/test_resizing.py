from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepose.geometry import fit_crops
from edgepose.kernels.resizing import WEIGHT_BITS, crop_into, resize_into

SIDE = st.integers(1, 40)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def plain(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """The same in 64 bits, pixel by pixel."""

    def taps(size: int, scaled: int) -> list[tuple[int, int, int]]:
        found = []
        for i in range(scaled):
            at = min(max((i + 0.5) * (size / scaled) - 0.5, 0), size - 1)
            first = min(int(at), max(size - 2, 0))
            found.append((first, min(first + 1, size - 1), round((at - first) * 2**WEIGHT_BITS)))
        return found

    one = 2**WEIGHT_BITS
    pixels = image.astype(np.int64)
    out = np.empty((height, width, 3), np.int64)
    for y, (top, bottom, lower) in enumerate(taps(image.shape[0], height)):
        for x, (left, right, further) in enumerate(taps(image.shape[1], width)):
            first = pixels[top, left] * (one - lower) + pixels[bottom, left] * lower
            second = pixels[top, right] * (one - lower) + pixels[bottom, right] * lower
            out[y, x] = (first * (one - further) + second * further + one * one // 2) // (one * one)
    return out.astype(np.uint8)


@given(SIDE, SIDE, SIDE, SIDE, st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_scaling_equals_its_plain_twin(height, width, scaled_height, scaled_width, seed):
    image = noise(height, width, seed)
    out = np.empty((scaled_height, scaled_width, 3), np.uint8)
    resize_into(image, out, scaled_height, scaled_width)
    np.testing.assert_array_equal(out, plain(image, scaled_height, scaled_width))


@pytest.mark.parametrize(("size", "scaled"), [((720, 1280), (256, 456)), ((100, 80), (368, 296)), ((33, 47), (33, 47))])
def test_scaling_is_opencvs_within_a_grey_level(size, scaled):
    image = cv2.GaussianBlur(noise(*size), (0, 0), 2)
    out = np.empty((*scaled, 3), np.uint8)
    resize_into(image, out, *scaled)
    expected = cv2.resize(image, scaled[::-1], interpolation=cv2.INTER_LINEAR)
    assert np.abs(out.astype(int) - expected).max() <= 1


def test_the_rest_of_the_input_is_not_touched():
    out = np.full((40, 60, 3), 7, np.uint8)
    resize_into(np.full((10, 10, 3), 200, np.uint8), out, 30, 20)
    assert (out[:30, :20] == 200).all()
    assert (out[30:] == 7).all()
    assert (out[:, 20:] == 7).all()


def test_pictures_need_not_be_contiguous():
    image = noise(30, 40)[:, ::-1]
    out, expected = np.empty((20, 20, 3), np.uint8), np.empty((20, 20, 3), np.uint8)
    resize_into(image, out, 20, 20)
    resize_into(image.copy(), expected, 20, 20)
    np.testing.assert_array_equal(out, expected)


def test_extremes_do_not_overflow():
    out = np.empty((5, 5, 3), np.uint8)
    resize_into(np.full((9, 7, 3), 255, np.uint8), out, 5, 5)
    assert (out == 255).all()


BOXES = {
    "inside": (100, 100, 220, 420),
    "beyond two edges": (-50, 500, 300, 900),
    "at the right": (1100, 300, 1500, 500),
    "the whole frame": (0, 0, 1280, 720),
    "a few pixels": (600, 300, 602, 305),
    "the last pixel": (1279.2, 719.2, 1280, 720),
    "outside": (2000, 2000, 2100, 2300),
}


@pytest.mark.parametrize("box", BOXES.values(), ids=BOXES)
def test_crops_are_opencvs_within_a_grey_level(box):
    """The published code of HRNet cuts with OpenCV's warpAffine, black beyond the frame."""
    image = cv2.GaussianBlur(noise(720, 1280), (0, 0), 2)
    to_crop = fit_crops(np.array([box], np.float32), 256, 192).matrices[0]
    out = np.empty((256, 192, 3), np.uint8)
    crop_into(image, out, to_crop)
    expected = cv2.warpAffine(image, to_crop, (192, 256), flags=cv2.INTER_LINEAR)
    assert np.abs(out.astype(int) - expected).max() <= 1


def plain_crop(image: np.ndarray, shape: tuple[int, int], to_crop: np.ndarray) -> np.ndarray:
    """The same in floats, pixel by pixel, without the rounding of weights."""
    height, width = image.shape[:2]
    out = np.zeros((*shape, 3))
    for y in range(shape[0]):
        for x in range(shape[1]):
            at_x, at_y = (x - to_crop[0, 2]) / to_crop[0, 0], (y - to_crop[1, 2]) / to_crop[1, 1]
            left, top = int(np.floor(at_x)), int(np.floor(at_y))
            for row, tall in ((top, 1 - (at_y - top)), (top + 1, at_y - top)):
                for column, wide in ((left, 1 - (at_x - left)), (left + 1, at_x - left)):
                    if 0 <= row < height and 0 <= column < width:
                        out[y, x] += image[row, column] * (tall * wide)
    return out


@given(SIDE, SIDE, st.integers(1, 12), st.integers(1, 12), st.floats(0.2, 4), st.floats(-30, 30), st.floats(-30, 30))
@settings(max_examples=60, deadline=None)
def test_crops_equal_their_plain_twin(height, width, crop_height, crop_width, scale, x, y):
    image = noise(height, width)
    to_crop = np.array([[scale, 0, x], [0, scale, y]])
    out = np.empty((crop_height, crop_width, 3), np.uint8)
    crop_into(image, out, to_crop)
    assert np.abs(out - plain_crop(image, (crop_height, crop_width), to_crop)).max() <= 1
