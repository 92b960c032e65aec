"""Capsules in plain NumPy, over the whole picture: the twin of `edgepose.kernels.capsules`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def draw_capsules(
    image: NDArray[np.uint8], ends: NDArray[np.float32], radii: NDArray[np.float32], colours: NDArray[np.uint8]
) -> None:
    """Draw M capsules onto `image` (H, W, 3): `ends` (M, 2, 2), `radii` (M,), `colours` (M, 3)."""
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    pixels = np.stack([columns, rows], axis=2).astype(np.float64)  # (H, W, 2)
    for (first, second), radius, colour in zip(ends.astype(np.float64), radii.astype(np.float64), colours, strict=True):
        if np.isfinite([first, second]).all():
            step = second - first
            along = np.clip((pixels - first) @ step / max(step @ step, 1e-30), 0, 1)
            distance = np.linalg.norm(pixels - first - along[..., None] * step, axis=2)
            covered = np.clip(radius + 0.5 - distance, 0, 1)[..., None]
            image[:] = np.floor(image + (colour - image.astype(np.float64)) * np.floor(256 * covered) / 256)
