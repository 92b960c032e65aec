"""A plain twin of PCKh as HRNet's code measures it: one joint of one person after the other, pixels counted from 1."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NAMES = [
    "rank", "rkne", "rhip", "lhip", "lkne", "lank", "pelv", "thor", "neck", "head", "rwri", "relb", "rsho", "lsho", "lelb",
    "lwri",
]  # fmt: skip


def figures(
    predictions: NDArray[np.floating], missing: NDArray[np.integer], joints: NDArray[np.floating], heads: NDArray[np.floating]
) -> dict[str, float]:
    """PCKh of `predictions` (N, 16, 2), against `jnt_missing` (16, N), `pos_gt_src` (16, 2, N), `headboxes_src` (2, 2, N)."""
    shares: dict[float, list[float]] = {}
    counts = [0] * 16
    for threshold in (0.5, np.arange(0, 0.51, 0.01)[11]):
        shares[threshold] = []
        for k in range(16):
            right = counts[k] = 0
            for n in range(len(predictions)):
                if missing[k, n]:
                    continue
                counts[k] += 1
                size = 0.6 * np.hypot(heads[1, 0, n] - heads[0, 0, n], heads[1, 1, n] - heads[0, 1, n])
                x, y = predictions[n, k] + 1
                right += bool(np.hypot(x - joints[k, 0, n], y - joints[k, 1, n]) / size <= threshold)
            shares[threshold].append(100 * right / counts[k] if counts[k] else 0.0)
    half, fine = shares.values()
    total = sum(count for k, count in enumerate(counts) if k not in (6, 7))
    both = {name: [NAMES.index("l" + name), NAMES.index("r" + name)] for name in ("sho", "elb", "wri", "hip", "kne", "ank")}
    named = zip(("Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle"), both.values(), strict=True)
    return {
        "Head": half[NAMES.index("head")],
        **{name: 0.5 * (half[a] + half[b]) for name, (a, b) in named},
        "Mean": sum(half[k] * counts[k] / total for k in range(16) if k not in (6, 7)),
        "Mean@0.1": sum(fine[k] * counts[k] / total for k in range(16) if k not in (6, 7)),
    }
