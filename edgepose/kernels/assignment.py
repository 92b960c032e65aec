"""Optimal assignment: the pairing of rows with columns of least total cost.

Shortest augmenting paths with potentials, one row after another, O(rows^2 columns): R. Jonker and A. Volgenant, "A shortest
augmenting path algorithm for dense and sparse linear assignment problems", Computing 38 (1987), without its starting
heuristics, which do not pay for the few dozen people or peaks of a frame. It is called from Python alone: see `jit.kernel`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgepose.arrays import Ints
from edgepose.errors import InputError
from edgepose.kernels.jit import kernel


@kernel
def assign(cost: NDArray[np.floating]) -> Ints:
    """Pair every row with a column of its own, or, where there are more rows than columns, every column with a row.

    Args:
        cost: (n, m) finite; negative costs are welcome.

    Returns:
        (n,) each row's column; -1 for the n - m rows that are left without.

    Raises:
        InputError: A cost is NaN or infinite.
    """
    rows, columns = cost.shape
    for i in range(rows):
        for j in range(columns):
            if not np.isfinite(cost[i, j]):
                raise InputError("a cost is NaN or infinite; expected finite costs")
    if rows <= columns:
        return _assign_rows(cost)
    row_of = _assign_rows(np.ascontiguousarray(cost.T))
    column_of = np.full(rows, -1, np.int64)
    for j in range(columns):
        column_of[row_of[j]] = j
    return column_of


@kernel
def _assign_rows(cost: NDArray[np.floating]) -> Ints:
    """Each row's column, of no more rows than columns."""
    rows, columns = cost.shape
    column_of = np.full(rows, -1, np.int64)
    row_of = np.full(columns, -1, np.int64)
    # Potentials keep reduced costs (cost - row_potential - column_potential) at 0 for pairs and at least 0 elsewhere.
    row_potential = np.zeros(rows)
    column_potential = np.zeros(columns)
    distance = np.empty(columns)
    previous_row = np.empty(columns, np.int64)
    settled = np.empty(columns, np.bool_)
    for start in range(rows):
        # Dijkstra over reduced costs, from the new row to the nearest free column; a taken column leads on to its row.
        distance[:] = np.inf
        settled[:] = False
        row = start
        reached = 0.0
        free = -1
        while free < 0:
            nearest = -1
            best = np.inf
            for j in range(columns):
                if settled[j]:
                    continue
                length = reached + cost[row, j] - row_potential[row] - column_potential[j]
                if length < distance[j]:
                    distance[j] = length
                    previous_row[j] = row
                if distance[j] < best:
                    best = distance[j]
                    nearest = j
            reached = best
            settled[nearest] = True
            if row_of[nearest] < 0:
                free = nearest
            else:
                row = row_of[nearest]
        row_potential[start] += reached
        for j in range(columns):
            if settled[j] and j != free:
                row_potential[row_of[j]] += reached - distance[j]
                column_potential[j] -= reached - distance[j]
        # Shift the pairs along the path: each row on it takes the column that it led to.
        column = free
        row = -1
        while row != start:
            row = previous_row[column]
            row_of[column] = row
            given_up = column_of[row]
            column_of[row] = column
            column = given_up
    return column_of
