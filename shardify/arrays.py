"""Short names for the types of NumPy arrays that all packages use."""

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
ImageArray = npt.NDArray[np.uint8]
"""Pixels of one picture, (height, width, 3), or of several, (frames, height, width, 3)."""
