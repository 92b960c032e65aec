"""Names of the array types that several rooms use."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Image: TypeAlias = NDArray[np.uint8]  # (H, W, 3) BGR
Float: TypeAlias = NDArray[np.float32]
Double: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Maps: TypeAlias = NDArray[np.floating]  # float32 or float16, (C, h, w)
