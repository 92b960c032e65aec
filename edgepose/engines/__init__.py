"""The protocol of engines, which run a network: pictures (B, H, W, 3) uint8 BGR in, maps (B, C, h, w) float32 out.

Pipelines know an engine by this protocol alone, and load none.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from edgepose.arrays import Float, Image
from edgepose.zoo.registry import Model


class Pending(Protocol):
    """A network run that was started."""

    def result(self) -> list[Float]:
        """Wait for it; the outputs, each (B, C, h, w) or (B, C, ...), in the order of the network. May be called again."""


class Engine(Protocol):
    """A network on a device. Threads may share one."""

    @property
    def output_channels(self) -> tuple[int, ...]:
        """C of each output, by which decoders tell outputs apart; 0 where the network leaves it open."""

    @property
    def requests(self) -> int:
        """The number of runs at a time that keeps the device busy; 1 where it is not known."""

    def submit(self, batch: Image) -> Pending:
        """Start the network on `batch` (B, H, W, 3) uint8 BGR, which may be changed as soon as this returns."""


class Opened(NamedTuple):
    """A network that is ready to run."""

    engine: Engine
    model: Model  # its description
    batch_size: int = 1  # crops of people that go through it together at best; a CPU takes each as soon as it is cut


def padded(batch: Image) -> Image:
    """`batch` (B, H, W, 3) with black pictures behind up to a power of two, so that engines prepare for a few sizes alone."""
    missing = (1 << max(len(batch) - 1, 0).bit_length()) - len(batch)
    return batch if missing == 0 else np.concatenate([batch, np.zeros((missing, *batch.shape[1:]), np.uint8)])
