"""The rules of the demos, on made poses: who lies, raises a hand or crosses a line, and where heads are."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest

from demos import anonymise, home_assistant, line_counter
from demos.anonymise import HOLD_S, Heads, blur, heads
from demos.home_assistant import Steady, hand_up, lying
from demos.line_counter import FORGET_S, LineCounter, places
from edgepose import COCO17, OPENPOSE18, Poses, Skeleton

# x, y in pixels; of somebody 170 px high. Left and right are alike where one is named without a side.
STANDING = {
    "nose": (100, 20),
    "shoulder": (100, 50),
    "wrist": (105, 100),
    "hip": (100, 100),
    "knee": (100, 145),
    "ankle": (100, 185),
}
FIGURES = {
    "standing": STANDING,
    "bending down": {**STANDING, "nose": (30, 110), "shoulder": (50, 100), "wrist": (45, 150)},
    "sitting on a chair": {**STANDING, "knee": (140, 105), "ankle": (140, 150)},
    "sitting on the floor": {**STANDING, "knee": (140, 95), "ankle": (180, 100)},
    "leaning back": {**STANDING, "nose": (40, 40), "shoulder": (60, 65), "knee": (140, 105), "ankle": (150, 150)},
    "on all fours": {
        **STANDING,
        "nose": (30, 95),
        "shoulder": (50, 100),
        "wrist": (50, 145),
        "knee": (100, 145),
        "ankle": (140, 145),
    },
    "over a desk, legs hidden": {"nose": (30, 90), "shoulder": (50, 95), "hip": (100, 100)},
    "lying": {"nose": (20, 105), "shoulder": (50, 100), "hip": (100, 105), "knee": (145, 102), "ankle": (185, 108)},
    "lying, knees drawn up": {
        "nose": (20, 105),
        "shoulder": (50, 100),
        "hip": (100, 105),
        "knee": (125, 70),
        "ankle": (140, 108),
    },
    "lying, feet hidden": {"nose": (20, 105), "shoulder": (50, 100), "hip": (100, 105), "knee": (145, 102)},
    # A false alarm that is told of: a bed is no other than the floor to the rule.
    "lying in bed": {"nose": (20, 80), "shoulder": (50, 90), "hip": (100, 98), "knee": (145, 95), "ankle": (185, 99)},
    "head alone": {"nose": (20, 80)},
}


def person(points: Mapping[str, tuple[float, float]], skeleton: Skeleton = OPENPOSE18) -> Poses:
    keypoints = np.full((1, len(skeleton), 2), np.nan)
    for name, place in points.items():
        for full in (name, f"l_{name}", f"r_{name}"):
            if full in skeleton.keypoints:
                keypoints[0, skeleton.index(full)] = place
    return Poses(keypoints, np.where(np.isnan(keypoints[..., 0]), 0.0, 0.8), np.array([0.6]), skeleton, np.array([1]))


@pytest.mark.parametrize("skeleton", [OPENPOSE18, COCO17], ids=lambda skeleton: skeleton.name)
@pytest.mark.parametrize("name", FIGURES)
def test_who_lies(name: str, skeleton: Skeleton) -> None:
    assert lying(person(FIGURES[name], skeleton)).tolist() == [name.startswith("lying")]


def test_one_side_is_enough_to_lie() -> None:
    seen = {f"l_{part}": place for part, place in FIGURES["lying"].items() if part != "nose"}
    assert lying(person(seen)).all()


def test_nobody_does_anything() -> None:
    assert lying(Poses.empty()).shape == hand_up(Poses.empty()).shape == (0,)
    assert heads(Poses.empty()).shape == (0, 3)


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ({**STANDING, "r_wrist": (100, 5)}, True),
        ({**STANDING, "l_wrist": (100, 19)}, True),
        ({**STANDING, "r_wrist": (100, 25)}, False),
        ({**STANDING, "r_ear": (100, 10), "r_wrist": (100, 15)}, False),
        ({"shoulder": (100, 50), "r_wrist": (100, 5)}, False),
        ({**FIGURES["lying"], "r_wrist": (50, 60)}, False),
        (STANDING, False),
    ],
    ids=["above", "the other", "as high as the face", "below an ear", "no head", "of one who lies", "down"],
)
def test_who_raises_a_hand(points: dict[str, tuple[float, float]], expected: bool) -> None:
    assert hand_up(person(points)).tolist() == [expected]


@pytest.mark.parametrize(
    ("fps", "frames", "is_on"),
    [
        (20, "." * 20 + "#" * 100, True),
        (20, "." * 20 + "#" * 20, False),  # a second of the two
        (20, "#" * 100 + "." * 10, True),
        (20, "#" * 100 + "." * 100, False),
        (20, "##." * 60, True),
        (20, "...#" * 60, False),
        (1, "....#####", True),
        (0.05, "#", False),  # what a camera shows first after it stood still
    ],
)
def test_it_takes_most_of_a_time_to_be_so_or_not(fps: float, frames: str, is_on: bool) -> None:
    steady = Steady(2.0)
    for n, so in enumerate(frames):
        steady(so == "#", n / fps)
    assert steady.is_on == is_on


def test_a_state_on_its_edge_does_not_flicker() -> None:
    steady = Steady(1.0)
    states = [steady(n % 2 == 0, n / 10) for n in range(300)]
    assert sum(a != b for a, b in itertools.pairwise(states)) <= 1


def walk(counter: LineCounter, *ways: list[float], y: float = 50, fps: float = 10) -> list[dict[int, str]]:
    """Who crosses in each frame; `ways` has the x of each person, who is not seen where that is NaN."""
    frames = []
    for n, xs in enumerate(zip(*ways, strict=True)):
        seen = {i: np.array([x, y], np.float32) for i, x in enumerate(xs, start=1) if not np.isnan(x)}
        frames.append(counter(seen, n / fps))
    return frames


def upwards() -> LineCounter:
    """A line from (100, 100) up to (100, 0), with 5 px to each side: in is to the right in the picture."""
    return LineCounter((100, 100), (100, 0), 5)


@pytest.mark.parametrize(
    ("xs", "counts"),
    [
        ([60, 80, 120, 140], (1, 0)),
        ([140, 120, 80, 60], (0, 1)),
        ([60, 80, 97, 100, 103, 120], (1, 0)),
        ([80, 96, 104, 97, 103, 96, 104, 97, 103, 96], (0, 0)),  # standing on the line, jittering
        ([80, 104, 97, 104, 97, 104, 80], (0, 0)),  # steps on it and back
        ([80, 120, 80, 120], (2, 1)),
        ([80, np.nan, np.nan, 120], (1, 0)),
        ([100, 120, 140], (0, 0)),  # appears on the line
        ([98, 102, 80, 120], (1, 0)),
        ([120, 140, 180], (0, 0)),
    ],
)
def test_who_crosses(xs: list[float], counts: tuple[int, int]) -> None:
    counter = upwards()
    walk(counter, xs)
    assert (counter.into, counter.out) == counts


def test_who_passes_beside_the_ends_does_not_cross() -> None:
    for y in (-20, 120):
        counter = upwards()
        walk(counter, [60, 140], y=y)
        assert (counter.into, counter.out) == (0, 0)


def test_two_who_cross_together_both_count() -> None:
    counter = upwards()
    assert walk(counter, [70, 90, 110, 130], [60, 80, 100, 120]) == [{}, {}, {1: "in"}, {2: "in"}]
    counter = upwards()
    walk(counter, [70, 88, 112, 130], [130, 112, 89, 70], fps=30)
    assert counter.into + counter.out in (0, 2)  # Meeting on the line is a swap or two crossings, never one.


def test_ids_that_swap_do_not_cross() -> None:
    counter = upwards()
    crossings = walk(counter, [70, 72, 74, 132, 134], [130, 131, 133, 73, 71])
    assert not any(crossings)
    assert walk(counter, [134, 80, 60], [71, 70, 69]) == [{}, {1: "out"}, {}]  # From the new sides on.


def test_who_left_is_forgotten() -> None:
    counter = upwards()
    counter({1: np.array([60, 50], np.float32)}, 0.0)
    counter({}, FORGET_S + 1)
    assert counter({1: np.array([140, 50], np.float32)}, FORGET_S + 2) == {}


def test_places_are_between_the_hips() -> None:
    assert places(person(STANDING))[1].tolist() == [100, 100]
    assert places(person({"l_hip": (80, 90)}))[1].tolist() == [80, 90]
    assert places(person({"shoulder": (80, 90)})) == {}


FACE = {"nose": (100, 100), "l_eye": (110, 90), "r_eye": (90, 90), "l_ear": (124, 94), "r_ear": (76, 94)}
BODY = {"l_shoulder": (155, 150), "r_shoulder": (45, 150), "l_hip": (140, 310), "r_hip": (60, 310)}


@pytest.mark.parametrize(
    "points", [{**FACE, **BODY}, FACE, {"nose": (100, 100), **BODY}, BODY], ids=["all", "face", "nose", "back"]
)
def test_a_head_is_covered_from_chin_to_hair(points: dict[str, tuple[float, float]]) -> None:
    ((x, y, radius),) = heads(person(points))
    for part in ((100, 62), (100, 128), (76, 94), (124, 94)):  # hair, chin, ears
        assert np.hypot(x - part[0], y - part[1]) <= radius
    assert radius < 80


def test_a_head_that_nothing_tells_of_is_none() -> None:
    assert np.isnan(heads(person({"nose": (5, 5)}))).any()
    assert np.isnan(heads(person({"l_wrist": (5, 5), "l_knee": (5, 50)}))).any()


def test_a_blur_covers_its_circle_alone_and_leaves_no_detail() -> None:
    image = np.random.default_rng(1).integers(0, 256, (120, 160, 3), np.uint8)
    blurred = image.copy()
    blur(blurred, 80, 60, 30)
    rows, columns = np.ogrid[:120, :160]
    outside = (columns - 80) ** 2 + (rows - 60) ** 2 > 30**2
    assert np.array_equal(blurred[outside], image[outside])
    assert np.abs(np.diff(blurred[60, 52:109].astype(int), axis=0)).max() < 20
    for x, y, radius in ((-10, 5, 30), (500, 500, 30), (80, 60, 1e9), (159, 119, 0.1)):
        blur(blurred, x, y, radius)  # At the edge, outside, larger than the picture, smaller than a pixel.


def test_who_is_missed_in_a_frame_stays_blurred_for_a_while() -> None:
    remembered, nobody = Heads(), Poses.empty()
    nobody = Poses(nobody.keypoints, nobody.scores, nobody.confidence, ids=np.empty(0, np.int64))
    assert len(remembered(person(FACE), 1.0)) == 1
    assert len(remembered(nobody, 1.0 + HOLD_S * 0.9)) == 1
    assert len(remembered(nobody, 1.0 + HOLD_S * 1.1)) == 0


@pytest.mark.parametrize(
    "url", ["broker", "http://broker", "mqtt://", "mqtt://broker:99999", "mqtt://broker:x", "mqtt://me:secret@b"]
)
def test_a_broker_that_is_none_is_wrong_usage(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        home_assistant.main(["0", "--broker", url])
    error = capsys.readouterr().err
    assert "--broker" in error
    assert "secret" not in error


@pytest.mark.parametrize("text", ["1", "a,b,c,d", "0,0,0,0", "0,0,2,1", "nan,0,1,1"])
def test_a_line_that_is_none_is_wrong_usage(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        line_counter.main(["0", "--line", text])
    assert "expected" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("main", "more"),
    [(anonymise.main, ["out.mp4"]), (line_counter.main, []), (home_assistant.main, ["--broker", "mqtt://127.0.0.1"])],
    ids=["anonymise", "line_counter", "home_assistant"],
)
def test_a_missing_source_is_one_line(
    main: Callable[[list[str]], int],
    more: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["absent.mp4", *more]) == 1
    error = capsys.readouterr().err
    assert "absent.mp4" in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_pictures_have_no_time_to_cross_a_line_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((32, 32, 3), np.uint8))
    assert line_counter.main([str(tmp_path)]) == 1
    assert home_assistant.main([str(tmp_path), "--broker", "mqtt://127.0.0.1"]) == 1
    assert capsys.readouterr().err.count("expected a camera") == 2
