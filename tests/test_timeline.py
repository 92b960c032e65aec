"""Times of frames in a written video, whatever the clock of the source does."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import pytest

from edgepose.media.timeline import LEAP_S, Timeline

UNIT = Fraction(1, 120_000)


def seconds(stamps: list[float], rate: float = 25, *, unit: Fraction = UNIT, **options: bool) -> list[float | None]:
    timeline = Timeline(Fraction(rate), unit, **{"is_timed": True, **options})
    places = [timeline.place(stamp) for stamp in stamps]
    return [None if place is None else round(float(place * unit), 6) for place in places]


def test_frames_without_times_come_at_the_rate() -> None:
    assert seconds([0, 0, 5, math.nan], is_timed=False) == [0, 0.04, 0.08, 0.12]


def test_a_variable_rate_is_kept_and_the_first_frame_is_at_0() -> None:
    assert seconds([3, 4, 4.5, 4.7, 60]) == [0, 1, 1.5, 1.7, 57]


@pytest.mark.parametrize("rate", [23.976, 24000 / 1001, 29.97, 59.94, 211.222, 1000])
def test_any_constant_rate_is_kept_for_hours(rate: float) -> None:
    timeline = Timeline(Fraction(rate), UNIT, is_timed=True)
    places = [timeline.place(index / rate) for index in range(3000)]
    assert places == [round(index / rate * 120_000) for index in range(3000)]
    assert timeline.place(7000.5) == 7000.5 * 120_000


@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        ([0, 0, 0, 0], [0, 0.04, 0.08, 0.12]),
        ([0, 0.04, 0.08, 0.08, 0.16], [0, 0.04, 0.08, 0.12, 0.16]),
        ([0, 0.04, math.nan, 0.12, math.inf, 0.2], [0, 0.04, 0.08, 0.12, 0.16, 0.2]),
        ([100, 100.04, 0, 0.04], [0, 0.04, 0.08, 0.12]),
        ([0, 0.04, 1e12, 1e12 + 0.04], [0, 0.04, 0.08, 0.12]),
        ([math.nan, 0.04, 0.08], [0, 0.04, 0.08]),
        ([0, 0.04, LEAP_S - 1], [0, 0.04, LEAP_S - 1]),
    ],
    ids=["stands", "stands once", "no number", "set back", "set ahead", "none at first", "a long pause"],
)
def test_a_clock_that_fails_does_not_break_the_video(stamps: list[float], expected: list[float]) -> None:
    found = seconds(stamps)
    assert found == pytest.approx(expected, abs=2e-4)
    assert all(a < b for a, b in itertools.pairwise(found))  # type: ignore[operator]


def test_the_last_frame_lasts_as_long_as_those_before_it() -> None:
    timeline = Timeline(Fraction(5), UNIT, is_timed=True)
    timeline.place(0)
    assert timeline.end == pytest.approx(0.2)
    for stamp in (1, 2, 3, 4, 5, *(5 + i / 30 for i in range(1, 30))):
        timeline.place(stamp)
    assert timeline.end == pytest.approx(6)


def test_a_pause_before_the_last_frame_does_not_make_it_last() -> None:
    timeline = Timeline(Fraction(25), UNIT, is_timed=True)
    for stamp in (0, 0.04, 0.08, 0.12, 0.16, 60):
        timeline.place(stamp)
    assert timeline.end == pytest.approx(60.04)


def test_at_a_fixed_rate_a_frame_has_the_nearest_place_that_is_left() -> None:
    unit = Fraction(1, 25)
    assert seconds([0, 0.05, 0.07, 0.51], unit=unit, is_fixed=True) == [0, 0.04, 0.08, 0.52]
    assert seconds([0, 0.001, 0.002, 0.003, 0.004, 1], unit=unit, is_fixed=True) == [0, 0.04, 0.08, None, None, 1]
    # More empty places than AVI can have are no pause, but a clock that was set.
    assert seconds([0, 0.04, 3000], unit=unit, is_fixed=True) == [0, 0.04, 0.08]
