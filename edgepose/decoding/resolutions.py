"""Brings the two outputs of HigherHRNet (arXiv 1908.10357) together, at the finer resolution."""

from __future__ import annotations

import numpy as np

from edgepose.arrays import Float
from edgepose.kernels.jit import fused_kernel


def merge_resolutions(coarse: Float, fine: Float) -> Float:
    """Heatmaps and then tags (2 K, 2 h, 2 w), as the published code has them before it groups.

    Args:
        coarse: (2 K, h, w) heatmaps and tags, brought to twice the resolution (bilinear).
        fine: (K, 2 h, 2 w) heatmaps, of which and the coarse ones the mean is taken.
    """
    merged = np.empty((len(coarse), *fine.shape[1:]), np.float32)
    _merge(np.ascontiguousarray(coarse), np.ascontiguousarray(fine), merged)
    return merged


@fused_kernel
def _merge(coarse: Float, fine: Float, merged: Float) -> None:
    """First two rows into one, then of that row two cells into one: three quarters of the nearer, a quarter of the other."""
    channels, height, width = coarse.shape
    near, far, half = np.float32(0.75), np.float32(0.25), np.float32(0.5)
    row = np.empty(width, np.float32)
    doubled = np.empty(2 * width, np.float32)
    for c in range(channels):
        for y in range(2 * height):
            nearer = coarse[c, y // 2]
            other = coarse[c, max(y // 2 - 1, 0) if y % 2 == 0 else min(y // 2 + 1, height - 1)]
            for x in range(width):
                row[x] = near * nearer[x] + far * other[x]
            doubled[0], doubled[2 * width - 1] = row[0], row[width - 1]
            for x in range(width - 1):
                doubled[2 * x + 1] = near * row[x] + far * row[x + 1]
                doubled[2 * x + 2] = far * row[x] + near * row[x + 1]
            out = merged[c, y]
            if c < len(fine):
                for x in range(2 * width):
                    out[x] = (doubled[x] + fine[c, y, x]) * half
            else:
                out[:] = doubled
