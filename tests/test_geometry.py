from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import edgepose
from edgepose.geometry import ASPECT_BUCKETS, bucket_width, fit_letterbox

sides = st.integers(1, 5000)


@given(sides, sides, st.integers(8, 1000), st.integers(8, 1000))
def test_letterbox_fits_keeps_the_aspect_and_inverts(frame_height, frame_width, height, width):
    box = fit_letterbox(frame_height, frame_width, height, width)
    assert 1 <= box.scaled_height <= height
    assert 1 <= box.scaled_width <= width
    assert box.scaled_height == height or box.scaled_width == width
    scale = min(height / frame_height, width / frame_width)
    assert abs(box.scaled_width - frame_width * scale) <= 1
    assert abs(box.scaled_height - frame_height * scale) <= 1
    # The frame's corners, half a pixel outside the first and last centres, are those of the part it fills.
    ends = np.array([(-0.5, -0.5), (box.scaled_width - 0.5, box.scaled_height - 0.5)], np.float32)
    expected = [(-0.5, -0.5), (frame_width - 0.5, frame_height - 0.5)]
    np.testing.assert_allclose(box.to_frame(ends), expected, rtol=1e-5, atol=1e-3)


@given(sides, sides, st.integers(1, 60), st.sampled_from([8, 16, 32]))
def test_buckets_are_few_hold_the_frame_and_are_the_narrowest(frame_height, frame_width, steps, multiple):
    height = steps * multiple
    width = bucket_width(frame_height, frame_width, height, multiple)
    assert width % multiple == 0
    widths = sorted({bucket_width(1000, round(1000 * a), height, multiple) for a in ASPECT_BUCKETS})
    assert width in widths
    scaled = height * frame_width / frame_height
    if width != widths[-1]:
        assert width >= scaled * 0.998 - 1
    narrower = [w for w in widths if w < width]
    assert not narrower or narrower[-1] < scaled * 1.002 + multiple


@pytest.mark.parametrize(
    ("frame", "width"),
    [((480, 640), 496), ((427, 640), 552), ((640, 480), 280), ((1080, 1920), 656), ((768, 1366), 656), ((100, 5000), 864)],
    ids=["4:3", "3:2", "3:4", "16:9", "almost 16:9", "panorama"],
)
def test_usual_frames_at_height_368_have_the_usual_widths(frame, width):
    assert bucket_width(*frame, 368, 8) == width


def test_a_height_that_no_network_takes_is_refused():
    with pytest.raises(edgepose.InputError, match="100 is not a multiple of 8"):
        bucket_width(480, 640, 100, 8)
