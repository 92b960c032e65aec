from __future__ import annotations

import numpy as np
import pytest

from edgepose.meter import Meter


def test_the_rate_is_that_of_the_last_seconds() -> None:
    times = iter([*np.arange(0, 5, 0.5), *np.arange(5, 8, 0.1)])
    meter = Meter(clock=lambda: next(times))
    assert meter.fps == 0
    for _ in range(10):
        meter.count()
    assert meter.fps == pytest.approx(2)
    for _ in range(30):
        meter.count()
    assert meter.fps == pytest.approx(10)


def test_a_rate_takes_two_frames() -> None:
    meter = Meter(clock=lambda: 1.0)
    for _ in range(2):
        meter.count()
        assert meter.fps == 0
