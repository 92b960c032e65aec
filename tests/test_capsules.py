"""The kernel that draws capsules, against its plain twin."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from synthetic import plain_capsules

from edgepose.kernels.capsules import draw_capsules

SIDE = st.integers(1, 40)
# Whole and half pixels, where rounding decides, among any.
COORDINATE = st.one_of(st.integers(-30, 60).map(lambda twice: twice / 2), st.floats(-60, 90, width=32))
HOSTILE = st.sampled_from([np.nan, np.inf, -np.inf, 1e9, -1e9, 3e38, -3e38, 0.0, -0.0, 1e-30])
RADIUS = st.one_of(st.integers(1, 30).map(lambda twice: twice / 2), st.floats(0.5, 60, width=32))


def noise(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def both(
    image: NDArray[np.uint8], ends: NDArray[np.float32], radii: NDArray[np.float32], colours: NDArray[np.uint8]
) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """What the kernel draws, and what its twin does; the kernel into a frame, whose margins it must not touch."""
    framed = np.full((image.shape[0] + 200, *image.shape[1:]), 77, np.uint8)
    framed[100:-100] = image
    draw_capsules(framed[100:-100], ends, radii, colours)
    assert (framed[:100] == 77).all()
    assert (framed[-100:] == 77).all()
    expected = image.copy()
    plain_capsules.draw_capsules(expected, ends, radii, colours)
    return framed[100:-100].astype(int), expected.astype(int)


def one(image: NDArray[np.uint8], x0: float, y0: float, x1: float, y1: float, radius: float) -> NDArray[np.uint8]:
    """`image` with one white capsule, as a new image."""
    drawn = image.copy()
    ends, radii = np.array([[[x0, y0], [x1, y1]]], np.float32), np.array([radius], np.float32)
    draw_capsules(drawn, ends, radii, np.full((1, 3), 255, np.uint8))
    return drawn


@given(SIDE, SIDE, st.lists(st.tuples(*[COORDINATE] * 4, RADIUS), min_size=1, max_size=4))
@settings(max_examples=300, deadline=None)
def test_equals_its_plain_twin(height, width, capsules):
    table = np.array(capsules, np.float32)
    colours = np.random.default_rng(1).integers(0, 256, (len(table), 3), np.uint8)
    found, expected = both(noise(height, width), table[:, :4].reshape(-1, 2, 2), np.ascontiguousarray(table[:, 4]), colours)
    assert np.abs(found - expected).max() <= len(table)  # a 256th of coverage each, where rounding decides


@given(SIDE, SIDE, st.lists(st.one_of(COORDINATE, HOSTILE), min_size=4, max_size=4), RADIUS)
@settings(max_examples=300, deadline=None)
def test_hostile_ends_are_left_out(height, width, ends, radius):
    given_ends, radii = np.array(ends, np.float32).reshape(1, 2, 2), np.array([radius], np.float32)
    found, expected = both(noise(height, width), given_ends, radii, np.array([[1, 2, 3]], np.uint8))
    if np.abs(given_ends).max() < 1e6:
        assert np.abs(found - expected).max() <= 1
    else:
        assert (found == noise(height, width)).all()


@pytest.mark.parametrize("far", [1e5, -1e5, 9e5, -9e5])
@pytest.mark.parametrize("ends", [(0, 0, 1, 0), (0, 0, 0, 1), (0, 0, 1, 1), (0, 0, 1, -0.3), (-1, -0.5, 1, 0.5)], ids=str)
def test_lines_to_far_away_are_exact(far, ends):
    image = noise(60, 80)
    moved = (np.array(ends).reshape(1, 2, 2) * far + 30).astype(np.float32)
    found, expected = both(image, moved, np.array([3], np.float32), np.array([[255, 0, 9]], np.uint8))
    assert np.abs(found - expected).max() <= 1
    assert (found != image).any()


@pytest.mark.parametrize("reach", [0.5, 1, 1.5, 2, 7])
@pytest.mark.parametrize("x", [0, 3.5, 39, -2, 42])
def test_rows_that_a_disc_just_touches(reach, x):
    ends = np.array([[[x, 20], [x, 20]]], np.float32)
    found, expected = both(noise(40, 40), ends, np.array([reach + 0.5], np.float32), np.zeros((1, 3), np.uint8))
    assert np.abs(found - expected).max() <= 1


def test_both_directions_are_the_same_line():
    image = noise(50, 50)
    ahead, back = one(image, 3, 40, 44, 7, 3.2), one(image, 44, 7, 3, 40, 3.2)
    assert (ahead == back).all()


def test_the_area_is_that_of_the_shape():
    black = np.zeros((100, 100, 3), np.uint8)
    for angle in np.linspace(0, np.pi, 9):
        x, y = 30 * np.cos(angle), 30 * np.sin(angle)
        area = one(black, 50.3 - x, 50.6 - y, 50.3 + x, 50.6 + y, 5).mean() * 1e4 / 255
        assert area == pytest.approx(60 * 10 + np.pi * 25, rel=0.01)


def test_a_later_capsule_lies_on_top():
    image = np.zeros((20, 20, 3), np.uint8)
    ends = np.array([[[0, 10], [19, 10]], [[10, 0], [10, 19]]], np.float32)
    colours = np.array([[250, 0, 0], [0, 0, 250]], np.uint8)
    draw_capsules(image, ends, np.full(2, 3, np.float32), colours)
    assert image[10, 10].tolist() == [0, 0, 250]
    assert image[10, 2].tolist() == [250, 0, 0]


def test_no_capsules():
    image = noise(5, 5)
    draw_capsules(image, np.zeros((0, 2, 2), np.float32), np.zeros(0, np.float32), np.zeros((0, 3), np.uint8))
    assert (image == noise(5, 5)).all()


def test_several_threads_draw_at_once():
    rng = np.random.default_rng(2)
    ends, radii = rng.uniform(-20, 220, (300, 2, 2)).astype(np.float32), rng.uniform(1, 9, 300).astype(np.float32)
    colours = rng.integers(0, 256, (300, 3), np.uint8)
    images = [np.zeros((200, 200, 3), np.uint8) for _ in range(4)]
    threads = [threading.Thread(target=draw_capsules, args=(image, ends, radii, colours)) for image in images]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((image == images[0]).all() for image in images)
    assert images[0].any()
