"""Targets and masks: against a plain twin, and at known places."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")
pytest.importorskip("pycocotools", reason="training needs pycocotools")

from edgepose.skeleton import OPENPOSE18, PAF_CHANNELS, PAF_LIMBS  # noqa: E402
from edgepose.training.annotations import ABSENT, LABELLED, UNLABELLED  # noqa: E402
from edgepose.training.targets import HEATMAPS, PeopleInCrop, draw_targets, draw_weights, list_marks  # noqa: E402

IDENTITY = np.array([[1.0, 0, 0], [0, 1, 0]])
NOSE, NECK, R_SHOULDER, R_ELBOW, R_WRIST = range(5)


def people(count: int, keypoints: dict[tuple[int, int], tuple[float, float]], **more: np.ndarray) -> PeopleInCrop:
    """Some labelled keypoints by person and index; all others are absent."""
    xy, states = np.zeros((count, 18, 2), np.float32), np.full((count, 18), ABSENT, np.uint8)
    for index, point in keypoints.items():
        xy[index], states[index] = point, LABELLED
    states = more.get("states", states)
    return PeopleInCrop(xy, states, more.get("boxes", np.zeros((count, 4), np.float32)), more.get("to_photo", IDENTITY))


def plain_targets(crop: PeopleInCrop, height: int, width: int) -> np.ndarray:
    """The definition, cell by cell."""
    maps = np.zeros((57, height, width))
    counts = np.zeros((19, height, width))
    for y in range(height):
        for x in range(width):
            for person, states in enumerate(crop.states):
                points = crop.keypoints[person].astype(float)
                for k in np.flatnonzero(states == LABELLED):
                    distance = np.hypot(*(np.array([8 * x + 3.5, 8 * y + 3.5]) - points[k]))
                    value = np.exp(-(distance**2) / (2 * 7**2))
                    maps[k, y, x] = max(maps[k, y, x], value if value >= 0.01 else 0)
                for limb, (a, b) in enumerate(PAF_LIMBS):
                    if states[a] != LABELLED or states[b] != LABELLED:
                        continue
                    start, end = (points[a] + 0.5) / 8 - 0.5, (points[b] + 0.5) / 8 - 0.5
                    length = np.hypot(*(end - start))
                    share = np.clip(np.dot(np.array([x, y]) - start, end - start) / length**2, 0, 1)
                    if np.hypot(*(start + share * (end - start) - (x, y))) <= 1:
                        for axis, channel in enumerate(PAF_CHANNELS[limb]):
                            maps[HEATMAPS + channel, y, x] += (end - start)[axis] / length
                        counts[limb, y, x] += 1
    for limb, channels in enumerate(PAF_CHANNELS):
        for channel in channels:
            maps[HEATMAPS + channel] /= np.maximum(counts[limb], 1)
    maps[18] = 1 - maps[:18].max(axis=0)
    return maps


def test_maps_are_those_of_the_plain_twin():
    rng = np.random.default_rng(0)
    crops = []
    for count in (3, 0, 1):
        states = rng.choice([ABSENT, LABELLED, UNLABELLED], (count, 18), p=(0.2, 0.7, 0.1)).astype(np.uint8)
        xy = rng.uniform(-10, 90, (count, 18, 2)).astype(np.float32)
        crops.append(PeopleInCrop(xy, states, np.zeros((count, 4), np.float32), IDENTITY))
    maps = draw_targets(list_marks(crops), 3, 9, 11).numpy()
    for crop, drawn in zip(crops, maps, strict=True):
        np.testing.assert_allclose(drawn, plain_targets(crop, 9, 11), atol=2e-5)


def test_a_keypoint_peaks_where_its_cell_has_its_centre():
    maps = draw_targets(list_marks([people(1, {(0, NOSE): (8 * 3 + 3.5, 8 * 2 + 3.5)})]), 1, 6, 6)[0]
    assert maps[NOSE, 2, 3] == 1
    assert maps[18, 2, 3] == 0
    assert (maps[NOSE] == 1).sum() == 1
    assert maps[NOSE, 2, 2] == pytest.approx(np.exp(-64 / 98), abs=1e-6)
    assert not maps[HEATMAPS:].any()


def test_crossing_limbs_of_two_people_are_averaged():
    crossing = people(
        2,
        {
            (0, R_ELBOW): (3.5, 27.5), (0, R_WRIST): (59.5, 27.5),
            (1, R_ELBOW): (27.5, 3.5), (1, R_WRIST): (27.5, 59.5),
        },
    )  # fmt: skip
    x, y = (HEATMAPS + channel for channel in PAF_CHANNELS[PAF_LIMBS.index((R_ELBOW, R_WRIST))])
    maps = draw_targets(list_marks([crossing]), 1, 8, 8)[0]
    assert maps[[x, y], 3, 3].tolist() == [0.5, 0.5]
    assert maps[[x, y], 3, 6].tolist() == [1, 0]
    assert maps[[x, y], 6, 3].tolist() == [0, 1]
    assert maps[[x, y], 6, 6].tolist() == [0, 0]


def test_two_keypoints_at_one_place_make_no_limb():
    maps = draw_targets(list_marks([people(1, {(0, R_ELBOW): (20, 20), (0, R_WRIST): (20, 20)})]), 1, 6, 6)
    assert torch.isfinite(maps).all()
    assert not maps[:, HEATMAPS:].any()


def test_unlabelled_keypoints_are_unknown_in_the_box_grown_by_half():
    states = np.full((1, 18), ABSENT, np.uint8)
    states[0, R_WRIST] = UNLABELLED
    # Grown by half, the box reaches from 8 to 56 and from 24 to 72; the centres of cells lie at 3.5, 11.5, ...
    crop = people(1, {}, states=states, boxes=np.array([[16, 32, 48, 64]], np.float32))
    weights = draw_weights(list_marks([people(0, {}), crop]), torch.zeros(2, 1, 12, 12)).numpy()
    assert (weights[0] == 1).all()
    inside = np.zeros((12, 12), bool)
    inside[3:9, 1:7] = True
    arm = [HEATMAPS + channel for channel in PAF_CHANNELS[PAF_LIMBS.index((R_ELBOW, R_WRIST))]]
    unknown = [R_WRIST, 18, *arm]
    for channel in range(57):
        np.testing.assert_array_equal(weights[1, channel] == 0, inside if channel in unknown else False, err_msg=str(channel))


def test_an_unlabelled_box_turns_with_the_crop():
    states = np.full((1, 18), UNLABELLED, np.uint8)
    turned = np.array([[0.0, 1, 0], [1, 0, 0]])  # x and y exchanged
    crop = people(1, {}, states=states, boxes=np.array([[16, 32, 48, 64]], np.float32), to_photo=turned)
    weights = draw_weights(list_marks([crop]), torch.zeros(1, 1, 12, 12))[0, R_WRIST]
    assert (weights[1:7, 3:9] == 0).all()
    assert (weights == 0).sum() == 36


def test_nothing_is_known_in_a_crowd():
    crowds = torch.zeros(1, 1, 4, 4)
    crowds[0, 0, 1, 2], crowds[0, 0, 2, 2] = 0.5, 0.4
    weights = draw_weights(list_marks([people(0, {})]), crowds)
    assert (weights[0, :, 1, 2] == 0).all()
    assert weights.sum() == 57 * 15


def test_every_paf_channel_belongs_to_one_limb():
    middle = {(0, k): (40 + 3.0 * k, 40 + 5.0 * (k % 4)) for k in range(len(OPENPOSE18))}
    maps = draw_targets(list_marks([people(1, middle)]), 1, 14, 14)[0]
    assert (maps[HEATMAPS:].abs().amax(dim=(1, 2)) > 0).sum() >= 30  # some limbs lie along an axis
