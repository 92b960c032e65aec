"""Names of the array types that several rooms use."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Image: TypeAlias = NDArray[np.uint8]  # (H, W, 3) BGR, or a batch of such
Float: TypeAlias = NDArray[np.float32]
Double: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Int32: TypeAlias = NDArray[np.int32]
Uint8: TypeAlias = NDArray[np.uint8]  # marks and masks
Bools: TypeAlias = NDArray[np.bool_]
Maps: TypeAlias = NDArray[np.floating]  # float32 or float16, (C, h, w)
