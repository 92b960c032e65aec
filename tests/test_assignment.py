from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from edgepose.errors import InputError
from edgepose.kernels.assignment import assign


def brute_force(cost: NDArray[np.floating]) -> float:
    """Least total cost over all pairings of every row (or every column, if those are fewer)."""
    cost = np.asarray(cost, np.float64)
    cost = cost if cost.shape[0] <= cost.shape[1] else cost.T
    rows = range(cost.shape[0])
    return min(
        sum(cost[i, j] for i, j in zip(rows, chosen, strict=True))
        for chosen in itertools.permutations(range(cost.shape[1]), len(rows))
    )


def check(cost: NDArray[np.floating]) -> float:
    """The total cost of the pairing, after checking that it is one."""
    columns = assign(cost)
    assert columns.shape == (cost.shape[0],)
    paired = columns >= 0
    assert paired.sum() == min(cost.shape)
    assert len(set(columns[paired])) == paired.sum()
    return float(cost[np.flatnonzero(paired), columns[paired]].sum(dtype=np.float64))


def test_the_total_cost_counts_and_not_who_comes_first() -> None:
    # Row 0 alone would take column 0; together it is better to leave that to row 1.
    assert assign(np.array([[0.0, 1.0], [2.0, 9.0]])).tolist() == [1, 0]


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0)])
def test_nothing_to_pair_gives_no_pairs(shape: tuple[int, int]) -> None:
    assert assign(np.empty(shape)).tolist() == [-1] * shape[0]


@settings(max_examples=200, deadline=None)
@given(
    st.tuples(st.integers(1, 5), st.integers(1, 5)).flatmap(
        # Whole numbers and few of them: ties are where shortcuts go wrong.
        lambda shape: arrays(np.float64, shape, elements=st.integers(-3, 3).map(float) | st.floats(-1e6, 1e6))
    )
)
def test_the_cost_is_that_of_brute_force(cost: NDArray[np.float64]) -> None:
    assert check(cost) == pytest.approx(brute_force(cost), rel=1e-12, abs=1e-6)


@pytest.mark.parametrize("shape", [(40, 40), (40, 25), (25, 40), (1, 60), (60, 1)])
@pytest.mark.parametrize("kind", ["uniform", "ties", "equal", "float32", "huge range"])
def test_the_cost_is_that_of_scipy(shape: tuple[int, int], kind: str) -> None:
    optimize = pytest.importorskip("scipy.optimize")
    random = np.random.default_rng(0)
    costs: dict[str, NDArray[np.floating]] = {
        "uniform": random.normal(size=shape),
        "ties": random.integers(0, 4, shape).astype(np.float64),
        "equal": np.ones(shape),
        "float32": random.normal(size=shape).astype(np.float32),
        "huge range": random.normal(size=shape) * 10.0 ** random.integers(-6, 6, shape),
    }
    cost = costs[kind]
    rows, columns = optimize.linear_sum_assignment(cost)
    assert check(cost) == pytest.approx(cost[rows, columns].sum(dtype=np.float64), rel=1e-6)


def test_the_costs_are_not_written_to() -> None:
    cost = np.arange(12.0).reshape(3, 4)
    cost.flags.writeable = False
    check(cost)
    check(cost.T)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_costs_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(InputError, match="finite"):
        assign(np.array([[0.0, 1.0], [value, 2.0]]))
