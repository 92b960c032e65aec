from __future__ import annotations

import numpy as np
import pytest

from converters.int8.maps import compare_maps, kinds
from edgepose.errors import InputError, ModelError

RANDOM = np.random.default_rng(0)


def blobs(channels: int, height: int = 24, width: int = 32, sigma: float = 2.0) -> np.ndarray:
    """(1, C, h, w), three hills a channel."""
    rows, columns = np.mgrid[:height, :width]
    maps = np.zeros((1, channels, height, width), np.float32)
    for channel in range(channels):
        for y, x in RANDOM.uniform((4, 4), (height - 4, width - 4), (3, 2)):
            maps[0, channel] += np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * sigma**2))
    return maps


MAPS = [[blobs(19), blobs(38)] for _ in range(2)]


def with_heatmaps(change) -> list[list[np.ndarray]]:
    return [[np.asarray(change(run[0].copy()), np.float32), run[1]] for run in MAPS]


def one(maps: np.ndarray, channel: int, value) -> np.ndarray:
    maps[:, channel] = value
    return maps


def test_equal_maps_are_alike():
    found = compare_maps(MAPS, MAPS)
    assert (found.least, found.low, found.high) == pytest.approx((1, 1, 1))
    assert found.moved < 0.05


@pytest.mark.parametrize(
    ("change", "least"),
    [
        pytest.param(lambda maps: maps * 0, 0.1, id="zeroed"),
        pytest.param(lambda maps: maps * 0.01, 0.1, id="hundredth"),
        pytest.param(lambda maps: maps * 2, 0.1, id="twice"),
        pytest.param(lambda maps: maps + 1, 0, id="offset"),
        pytest.param(lambda maps: -maps, 0, id="upside-down"),
        pytest.param(lambda maps: maps[:, ::-1], 0.5, id="permuted"),
        pytest.param(lambda maps: maps[..., ::-1], 0.5, id="mirrored"),
        pytest.param(lambda maps: one(maps, 7, 0), 0.1, id="one-dead"),
    ],
)
def test_the_worst_channel_counts(change, least):
    assert compare_maps(MAPS, with_heatmaps(change)).least < least


def test_the_worst_channel_is_named():
    assert compare_maps(MAPS, with_heatmaps(lambda maps: one(maps, 7, 0))).where == "channel 7 of output 0"


def test_one_run_of_many_that_is_broken_is_seen():
    broken = [MAPS[0], [np.zeros_like(maps) for maps in MAPS[1]]]
    assert compare_maps(MAPS, broken).least < 0.7


@pytest.mark.parametrize(("sigma", "least"), [(2, 0.8), (4, 0.9)])
@pytest.mark.parametrize("axis", [2, 3])
@pytest.mark.parametrize("cells", [1, -1])
def test_a_move_by_a_cell_is_seen_in_maps_however_smooth(axis, cells, sigma, least):
    maps = [[blobs(17, 48, 48, sigma)]]
    found = compare_maps(maps, [[np.roll(maps[0][0], cells, axis)]])
    assert found.least > least
    assert found.moved == pytest.approx(1, abs=0.4)


def test_another_scale_of_one_channel_is_seen():
    found = compare_maps(MAPS, with_heatmaps(lambda maps: one(maps, 3, 0.7 * maps[:, 3])))
    assert found.low == pytest.approx(0.7, abs=1e-4)
    assert found.least > 0.8


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_never_alike(value):
    assert not compare_maps(MAPS, with_heatmaps(lambda maps: one(maps, 7, value))).least >= 0
    with pytest.raises(ModelError, match="no numbers"):
        compare_maps(with_heatmaps(lambda maps: one(maps, 7, value)), MAPS)


def test_ripples_of_a_quiet_channel_may_change_and_it_may_not_die():
    quiet = [[one(run[0].copy(), 5, 0.1 * run[0][:, 6]), run[1]] for run in MAPS]
    rippled = [[run[0] + RANDOM.normal(0, 0.01, run[0].shape).astype(np.float32), run[1]] for run in quiet]
    assert compare_maps(quiet, rippled).least > 0.95
    dead = [[one(run[0].copy(), 5, 0), run[1]] for run in quiet]
    assert compare_maps(quiet, rippled).low > 0.9
    assert compare_maps(quiet, dead).low == pytest.approx(0)
    upside_down = [[one(run[0].copy(), 5, -run[0][:, 5]), run[1]] for run in quiet]
    assert compare_maps(quiet, upside_down).low == pytest.approx(-1)


def test_channels_are_measured_by_their_own_kind():
    """Tags a thousand times as large as the heatmaps beside them hide nothing."""
    maps = np.concatenate([blobs(17), 1000 * blobs(17)], axis=1)
    assert compare_maps([[maps]], [[one(maps.copy(), slice(0, 17), 0)]]).least < 0.1


@pytest.mark.parametrize("level", [0.0, 0.3])
def test_a_flat_reference_proves_nothing(level):
    flat = [[np.full((1, 19, 8, 8), level, np.float32), blobs(38, 8, 8)]]
    with pytest.raises(InputError, match="photos with people"):
        compare_maps(flat, flat)


def test_maps_of_other_shapes_are_refused():
    with pytest.raises(ModelError, match="shapes"):
        compare_maps(MAPS, [[blobs(19, 8, 8), blobs(38, 8, 8)] for _ in range(2)])
    with pytest.raises(ModelError, match="shapes"):
        compare_maps(MAPS, MAPS[:1])


def test_channels_are_divided_into_kinds():
    assert [len(range(*kind.indices(57))) for kind in kinds(57)] == [18, 1, 38]
    assert kinds(17) == [slice(0, 17)]
