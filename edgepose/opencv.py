"""OpenCV; or one line that says what to install, where a library of the system is missing that it needs."""

from __future__ import annotations

from edgepose.errors import missing_library

try:
    import cv2 as cv2
except ImportError as error:
    raise missing_library(error) or error from None
