from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from synthetic.walkers import Frame, judge, track, walk

from edgepose import COCO17, OPENPOSE18, InputError, Poses, Skeleton, make_skeleton, tracking
from edgepose.kernels.oks import MAX_SLACK, areas, oks_in_motion
from edgepose.tracking import Tracker, one_euro

FRAME_S = 1 / 30
# A standing person of height 1 around (0, 0), in COCO's keypoints.
STANDING = np.array(
    [(0, -0.44), (0.01, -0.45), (-0.01, -0.45), (0.03, -0.44), (-0.03, -0.44), (0.11, -0.3), (-0.11, -0.3), (0.14, -0.15),
     (-0.14, -0.15), (0.15, 0), (-0.15, 0), (0.07, 0.02), (-0.07, 0.02), (0.08, 0.25), (-0.08, 0.25), (0.08, 0.48),
     (-0.08, 0.48)]
)  # fmt: skip


def people(*places: tuple[float, float], height: float = 200.0, missing: tuple[int, ...] = ()) -> Poses:
    """People who stand around `places` (x, y), the surest first."""
    keypoints = np.array(places, np.float32).reshape(-1, 1, 2) + np.float32(height) * STANDING.astype(np.float32)
    scores = np.full(keypoints.shape[:2], 0.8, np.float32)
    keypoints[:, list(missing)] = np.nan
    scores[:, list(missing)] = 0
    return Poses(keypoints, scores, np.linspace(0.9, 0.5, len(places), dtype=np.float32), COCO17)


def ids(poses: Poses) -> list[int]:
    assert poses.ids is not None
    return poses.ids.tolist()


@pytest.fixture(scope="module")
def clip() -> list[Frame]:
    return walk(5, seed=0)


@pytest.mark.parametrize(("fps", "skeleton"), [(30, COCO17), (10, OPENPOSE18), (5, COCO17)], ids=["30 fps", "10 fps", "5 fps"])
def test_people_who_cross_keep_their_identities(fps: int, skeleton: Skeleton) -> None:
    clips = [walk(5, fps=fps, seed=seed, skeleton=skeleton) for seed in range(4)]
    figures = [judge(clip, track(Tracker(), clip)) for clip in clips]
    assert sum(figure.clear_switches for figure in figures) == 0
    assert np.mean([figure.idf1 for figure in figures]) >= 0.9


def test_identities_do_not_depend_on_smoothing(clip: list[Frame]) -> None:
    assert track(Tracker(smooth=True), clip) == track(Tracker(), clip)


def test_how_clips_are_judged() -> None:
    clip = walk(2, seconds=2, noise=0, missing=0, missed=0, gap_s=0, hiding=False)
    right = [frame.people.tolist() for frame in clip]
    perfect = judge(clip, right)
    assert (perfect.idf1, perfect.best, perfect.switches) == (1, 1, 0)
    swapped = judge(clip, right[:45] + [[1 - person for person in frame] for frame in right[45:]])
    assert (swapped.idf1, swapped.switches) == (45 / 60, 2)
    always_new = judge(clip, [[2 * n, 2 * n + 1] for n in range(60)])
    assert always_new.idf1 == pytest.approx(1 / 60)


def test_the_same_people_come_back_with_identities() -> None:
    poses = people((100, 300), (500, 300))
    tracked = Tracker().update(poses, 0.0)
    assert ids(tracked) == [1, 2]
    assert np.array_equal(tracked.keypoints, poses.keypoints)
    assert np.array_equal(tracked.confidence, poses.confidence)
    assert poses.ids is None


def test_identities_follow_people_not_their_order() -> None:
    tracker = Tracker()
    assert ids(tracker.update(people((100, 300), (500, 300)), 0.0)) == [1, 2]
    assert ids(tracker.update(people((503, 300), (102, 300)), FRAME_S)) == [2, 1]


@pytest.mark.parametrize(("before_x", "x"), [((100, 130), (118, 131)), ((100, 106), (105, 111))], ids=["first come", "greedy"])
def test_pairs_are_best_together(before_x: tuple[float, float], x: tuple[float, float]) -> None:
    # Alone, the first person is nearer to where 2 was; for both together it is better to be 1 and 2.
    tracker = Tracker()
    tracker.update(people(*((each, 300) for each in before_x)), 0.0)
    assert ids(tracker.update(people(*((each, 300) for each in x)), FRAME_S)) == [1, 2]


def test_of_two_at_one_place_the_one_of_the_same_size_matches() -> None:
    tracker = Tracker()
    tracker.update(people((300, 300), height=300), 0.0)
    both = Poses(
        np.concatenate([people((300, 300), height=200).keypoints, people((306, 300), height=300).keypoints]),
        np.full((2, 17), 0.8, np.float32), np.array([0.9, 0.8], np.float32), COCO17,
    )  # fmt: skip
    assert ids(tracker.update(both, FRAME_S)) == [2, 1]


def test_somebody_new_gets_a_new_identity() -> None:
    tracker = Tracker()
    tracker.update(people((100, 300)), 0.0)
    assert ids(tracker.update(people((700, 300), (100, 300)), FRAME_S)) == [2, 1]
    assert ids(tracker.update(people((1100, 300)), 10.0)) == [3]


def test_trackers_count_on_their_own() -> None:
    first, second = Tracker(), Tracker()
    first.update(people((100, 300), (500, 300)), 0.0)
    assert ids(second.update(people((100, 300)), 0.0)) == [1]


@pytest.mark.parametrize(("gap_s", "same"), [(0.3, True), (0.9, True), (1.1, False), (30.0, False)])
def test_a_person_who_comes_back(gap_s: float, same: bool) -> None:
    tracker = Tracker(max_gap_s=1.0)
    tracker.update(people((100, 300), (500, 300)), 0.0)
    tracker.update(people((500, 300)), gap_s / 2)
    assert ids(tracker.update(people((500, 300), (110, 300)), gap_s)) == [2, 1 if same else 3]


def test_a_walker_is_expected_farther_on() -> None:
    tracker = Tracker()
    for frame in range(30):
        tracker.update(people((100 + 5 * frame, 300), (245, 450)), frame * FRAME_S)
    # Half a second unseen, the walker is 75 pixels on, and somebody else is where they were.
    tracker.update(people((245, 450)), 1.2)
    assert ids(tracker.update(people((245, 450), (100 + 5 * 44, 300)), 44 * FRAME_S)) == [2, 1]


def test_a_slow_source_is_no_gap() -> None:
    tracker = Tracker(max_gap_s=0.0)
    assert [ids(tracker.update(people((100, 300)), 5.0 * frame)) for frame in range(4)] == [[1]] * 4


ODD = [
    (0.0, 0.0, 0.0), (9.0, 5.0, 1.0), (5.0, 0.0, 5.0), (1.0, 1.0 + 1e-12, 1.5),
    (0.0, 1e15, 1e15 + 1 / 30, 1e15 + 2 / 30, 1e15 + 2), (0.0, 1e15, 0.1, 0.2), (0.0, 1e308, -1e308, 1e308, 1.7e308, 0.0),
    (0, 10**18, 10**18 + 1, 2**63),
    (5e-324, 1e-323, 2e-323, 1.0), (-1e15, -1e15 + 1 / 30, 0.0, 0.04), (np.float32(1e38), np.float32(-1e38), np.float64(1e308)),
]  # fmt: skip


@pytest.mark.parametrize("skeleton", [COCO17, OPENPOSE18], ids=lambda skeleton: skeleton.name)
@pytest.mark.parametrize("timestamps", ODD, ids=range(len(ODD)))
def test_odd_clocks(timestamps: tuple[float, ...], skeleton: Skeleton) -> None:
    tracker = Tracker(smooth=True)
    for frame, timestamp in enumerate(timestamps * 3):
        given = people((100, 300), missing=(frame % 5,)).to(skeleton)
        tracked = tracker.update(given, timestamp)
        assert ids(tracked) == [1]
        np.testing.assert_allclose(tracked.keypoints, given.keypoints, atol=1e-3)  # Who stands still stays there.


def smoothed_at(*timestamps: float) -> list[float]:
    """The smoothed places of the first keypoint of somebody who shakes, at these times."""
    tracker = Tracker(smooth=True)
    frames = [tracker.update(people((100 + 2 * (frame % 2), 300)), timestamp) for frame, timestamp in enumerate(timestamps)]
    return [float(frame.keypoints[0, 0, 0]) for frame in frames]


def test_smoothing_is_as_exact_after_a_jump_of_the_clock_as_before() -> None:
    steps = np.cumsum([0.01, 0.02, 0.01, 0.03, 0.02])
    jumped = smoothed_at(0.0, 1e15, *(1.0 + steps))  # Going back counts as one frame.
    slow = smoothed_at(0.0, 1e6, *(1e6 + FRAME_S + steps - steps[0]))
    assert jumped == pytest.approx(slow, abs=1e-3)
    assert len(set(jumped)) == len(jumped)


def test_the_lost_are_forgotten_though_the_clock_stands_still() -> None:
    tracker = Tracker(max_gap_s=1.0)
    tracker.update(people((100, 300)), 0.0)
    for _ in range(40):
        tracker.update(Poses.empty(COCO17), 0.0)
    assert ids(tracker.update(people((100, 300)), 0.0)) == [2]


def test_nobody() -> None:
    tracker = Tracker(smooth=True)
    for timestamp in (0.0, 0.1):
        tracked = tracker.update(Poses.empty(OPENPOSE18), timestamp)
        assert ids(tracked) == []
        assert tracked.keypoints.shape == (0, 18, 2)


def test_missing_keypoints() -> None:
    upper, lower = (0, 1, 2, 3, 4, 5, 6), (11, 12, 13, 14, 15, 16)
    tracker = Tracker(smooth=True)
    for frame, missing in enumerate(((), upper, lower, upper)):
        tracked = tracker.update(people((100 + frame, 300), missing=missing), frame * FRAME_S)
        assert ids(tracked) == [1]
        assert np.flatnonzero(np.isnan(tracked.keypoints[0, :, 0])).tolist() == list(missing)


def test_a_person_without_keypoints_is_nobody_known() -> None:
    tracker = Tracker(smooth=True)
    nothing = people((100, 300), missing=tuple(range(17)))
    assert [ids(tracker.update(nothing, frame * FRAME_S)) for frame in range(3)] == [[1], [2], [3]]


def test_one_keypoint_alone_is_not_enough_to_be_the_same() -> None:
    tracker = Tracker(min_oks=0.5)
    tracker.update(people((100, 300)), 0.0)
    assert ids(tracker.update(people((100, 300), missing=tuple(range(1, 17))), FRAME_S)) == [2]


@pytest.mark.parametrize("skeleton", [COCO17, OPENPOSE18], ids=lambda skeleton: skeleton.name)
def test_skeletons(skeleton: Skeleton) -> None:
    tracker = Tracker(smooth=True)
    for frame in range(3):
        tracked = tracker.update(people((100 + frame, 300), (400, 300)).to(skeleton), frame * FRAME_S)
        assert ids(tracked) == [1, 2]
        assert tracked.skeleton is skeleton


def test_noise_does_not_fill_the_memory() -> None:
    random = np.random.default_rng(0)
    tracker = Tracker(max_gap_s=1e6)
    for frame in range(12):
        tracker.update(people(*random.uniform(0, 1e6, (100, 2))), frame * FRAME_S)
    assert len(tracker._tracks.ids) <= 100 + tracking.MAX_LOST + 1


def test_kernels_are_compiled_before_the_first_frame(clip: list[Frame]) -> None:
    kernels: list[Any] = [oks_in_motion, one_euro, areas, tracking.follow, tracking.assign]
    tracker = Tracker()
    compiled = [len(kernel.signatures) for kernel in kernels]
    track(tracker, clip[:10])
    assert [len(kernel.signatures) for kernel in kernels] == compiled


@pytest.mark.parametrize(
    ("knob", "value"),
    [("min_oks", -0.1), ("min_oks", 1.1), ("min_oks", math.nan), ("max_gap_s", -1), ("max_gap_s", math.inf), ("beta", -1),
     ("beta", math.nan), ("min_cutoff_hz", 0), ("min_cutoff_hz", math.inf), ("slope_cutoff_hz", 0)],
)  # fmt: skip
def test_knobs_out_of_range(knob: str, value: float) -> None:
    with pytest.raises(InputError, match=f"{knob} .*{value:g}.*expected"):
        Tracker(**{knob: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("timestamp", [math.nan, math.inf, -math.inf, 10**400], ids=["nan", "inf", "-inf", "int"])
def test_a_time_stamp_that_is_none(timestamp: float) -> None:
    tracker = Tracker()
    tracker.update(people((100, 300)), 0.0)
    with pytest.raises(InputError, match="expected finite seconds"):
        tracker.update(people((100, 300)), timestamp)
    assert ids(tracker.update(people((100, 300)), 0.1)) == [1]


def test_another_skeleton_midway() -> None:
    tracker = Tracker()
    tracker.update(people((100, 300)), 0.0)
    with pytest.raises(InputError, match="openpose18 after coco17"):
        tracker.update(people((100, 300)).to(OPENPOSE18), FRAME_S)
    assert ids(tracker.update(people((100, 300)), FRAME_S)) == [1]


def plain_oks(
    expected: NDArray[Any], area: NDArray[Any], age: NDArray[Any], keypoints: NDArray[Any], slack_per_s: float
) -> tuple[NDArray[Any], NDArray[Any]]:
    """OKS as COCO's evaluation writes it, over common keypoints, and its variant by certainty; pair by pair."""
    similarity, certainty = np.zeros((2, len(expected), len(keypoints)))
    sharp = (2 * np.array(COCO17.sigmas)) ** 2
    for i, j in np.ndindex(similarity.shape):
        variance = sharp + np.minimum(slack_per_s * age[i], MAX_SLACK) ** 2
        terms = np.exp(-((expected[i] - keypoints[j]) ** 2).sum(axis=1) / variance / area[i] / 2)
        common = max(np.isfinite(terms).sum(), 3)
        similarity[i, j] = np.nansum(terms) / common
        certainty[i, j] = np.nansum(terms * np.sqrt(sharp / variance)) / common
    return similarity, certainty


@pytest.mark.parametrize("slack_per_s", [0.0, 0.5, 3.0])
@pytest.mark.parametrize("spread_px", [0.0, 10.0, 1000.0])
def test_oks_matches_its_plain_twin(slack_per_s: float, spread_px: float) -> None:
    random = np.random.default_rng(0)
    position = people(*random.uniform(0, 1 + spread_px, (7, 2))).keypoints.copy()
    keypoints = people(*random.uniform(0, 1 + spread_px, (5, 2))).keypoints.copy()
    position[random.random((7, 17)) < 0.3] = np.nan
    keypoints[random.random((5, 17)) < 0.3] = np.nan
    position[0], keypoints[0, 1:] = np.nan, np.nan
    now = 100.0
    seen = np.where(np.isnan(position[..., 0]), -np.inf, now - random.uniform(0.01, 1, (7, 17)))
    age = np.where(np.isfinite(seen), now - seen, 0)
    velocity = random.normal(size=(7, 2)).astype(np.float32) * 50
    area = random.uniform(1000, 20000, 7).astype(np.float32)
    sigmas = np.array(COCO17.sigmas, np.float32)
    similarity, certainty = oks_in_motion(position, seen, velocity, area, keypoints, sigmas, now, slack_per_s)
    expected = position + velocity[:, None] * age[..., None]
    plain_similarity, plain_certainty = plain_oks(expected, area, age, keypoints, slack_per_s)
    assert similarity == pytest.approx(plain_similarity, abs=2e-5)
    assert certainty == pytest.approx(plain_certainty, abs=2e-5)


def test_areas() -> None:
    poses = people((0, 0), height=100)
    flat = np.full((1, 17, 2), np.nan, np.float32)
    flat[0, :2] = (0, 0), (0, 100)
    nothing = np.full((1, 17, 2), np.nan, np.float32)
    keypoints = np.concatenate([poses.keypoints, flat, nothing])
    keypoints.flags.writeable = False  # as those of `Poses` are, so that no kernel is compiled for this test alone
    measured = areas(keypoints)
    assert measured == pytest.approx([0.7 * (30 * 93 + 0.1 * 93**2), 0.07 * 100**2, 1], rel=1e-4)


def plain_one_euro(
    samples: list[tuple[float, NDArray[Any]]], scale: float, min_cutoff: float, beta: float, slope_cutoff: float
) -> list[NDArray[Any]]:
    """Algorithm 1 of Casiez, Roussel and Vogel (CHI 2012) for one point, with the speed in scales."""

    def alpha(cutoff: float, rate: float) -> float:
        tau = 1 / (2 * math.pi * cutoff)
        return 1 / (1 + tau * rate)

    results: list[NDArray[Any]] = []
    slope = np.zeros(2)
    last = 0.0
    for timestamp, point in samples:
        if results:
            rate = 1 / (timestamp - last)
            a = alpha(slope_cutoff, rate)
            slope = a * (point - results[-1]) * rate + (1 - a) * slope
            a = alpha(min_cutoff + beta * float(np.linalg.norm(slope)) / scale, rate)
            point = a * point + (1 - a) * results[-1]
        results.append(point)
        last = timestamp
    return results


def test_one_euro_matches_its_plain_twin() -> None:
    random = np.random.default_rng(0)
    timestamps = np.cumsum(random.uniform(0.005, 0.2, 40))
    points = np.cumsum(random.normal(size=(40, 17, 2)) * 8, axis=0).astype(np.float32) + 500
    found = random.random((40, 17)) < 0.8
    area = np.array([6400], np.float32)
    smoothed = np.full((1, 17, 2), np.nan, np.float32)
    slope = np.zeros((1, 17, 2), np.float32)
    seen = np.full((1, 17), -np.inf)
    results = []
    for timestamp, point, there in zip(timestamps, points, found, strict=True):
        keypoints = np.where(there[:, None], point, np.float32(np.nan))[None]
        keypoints.flags.writeable = False
        one_euro(smoothed, slope, seen, area, keypoints, float(timestamp), 0.8, 3.0, 1.5)
        seen[0, there] = timestamp
        results.append(smoothed[0].copy())
    for k in range(17):
        frames = np.flatnonzero(found[:, k])
        samples = [(float(timestamps[f]), points[f, k].astype(np.float64)) for f in frames]
        plain = plain_one_euro(samples, 80.0, 0.8, 3.0, 1.5)
        assert np.array([results[f][k] for f in frames]) == pytest.approx(np.array(plain), abs=1e-2)


def error_and_jitter(tracker: Tracker, clip: list[Frame]) -> tuple[float, float]:
    """Root mean square of keypoints' error, and of its change from frame to frame, in pixels."""
    errors = np.full((len(clip), *clip[0].truth.shape), np.nan)
    for frame, error in zip(clip, errors, strict=True):
        error[frame.people] = tracker.update(frame.poses, frame.timestamp).keypoints - frame.truth[frame.people]
    return float(np.sqrt(np.nanmean(errors**2))), float(np.sqrt(np.nanmean(np.diff(errors, axis=0) ** 2)))


@pytest.mark.parametrize(
    ("speed", "error_ratio", "jitter_ratio"), [(0.0, 0.6, 0.35), (1.0, 1.05, 0.7)], ids=["still", "walking"]
)
def test_smoothing_calms_and_does_not_lag(speed: float, error_ratio: float, jitter_ratio: float) -> None:
    clip = walk(3, speed=speed, seconds=6)
    error, jitter = error_and_jitter(Tracker(), clip)
    smooth_error, smooth_jitter = error_and_jitter(Tracker(smooth=True), clip)
    assert smooth_error < error_ratio * error
    assert smooth_jitter < jitter_ratio * jitter


def test_a_keypoint_long_unseen_starts_anew() -> None:
    tracker = Tracker(smooth=True, max_gap_s=1.0, min_cutoff_hz=0.01, beta=0.0)
    tracker.update(people((100, 300)), 0.0)
    for frame in range(1, 20):
        tracker.update(people((100, 300), missing=(0,)), frame / 10)
    there = people((130, 300))
    assert tracker.update(there, 2.0).keypoints[0, 0] == pytest.approx(there.keypoints[0, 0])
    assert tracker.update(people((160, 300)), 2.1).keypoints[0, 0] != pytest.approx(people((160, 300)).keypoints[0, 0])


def test_keypoints_of_anybody_are_tracked():
    horse = make_skeleton({"name": "horse", "keypoints": ["head", "l_hoof", "r_hoof", "tail"]})
    tracker = Tracker(smooth=True)
    places = np.array([[[10, 10], [5, 60], [30, 60], [90, 20]], [[310, 10], [305, 60], [330, 60], [390, 20]]], np.float32)
    seen = []
    for step in range(4):
        order = [0, 1] if step % 2 else [1, 0]
        poses = Poses(places[order] + step, np.ones((2, 4)), np.ones(2), horse)
        seen.append(tracker.update(poses, step / 25).ids[np.argsort(order)].tolist())
    assert all(ids == seen[0] for ids in seen)
