"""edgepose: multi-person pose estimation at the speed of its network on ordinary CPUs.

>>> import edgepose
>>> estimator = edgepose.PoseEstimator()
>>> poses = estimator(image)  # (H, W, 3) uint8 BGR -> edgepose.Poses
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from edgepose.privacy import keep_quiet

if TYPE_CHECKING:
    from edgepose.decoding.paf import decode_poses
    from edgepose.drawing import draw_poses
    from edgepose.errors import (
        DeviceError,
        DownloadError,
        EdgePoseError,
        InputError,
        MissingExtraError,
        MissingLibraryError,
        ModelError,
        OutputError,
        PersonIndexError,
        SourceError,
        UnknownModelError,
    )
    from edgepose.estimator import EstimatedFrame, PoseEstimator
    from edgepose.media.cameras import CameraOptions
    from edgepose.media.frames import Frame, Source
    from edgepose.media.images import read_image, write_image
    from edgepose.media.sinks import Sink, Sinks, open_sinks
    from edgepose.media.sources import open_source
    from edgepose.media.window import check_screen
    from edgepose.poses import Poses
    from edgepose.skeleton import COCO17, HALPE26, MPII16, OPENPOSE18, WHOLEBODY133, Skeleton, make_skeleton
    from edgepose.tracking import Tracker

__version__ = "0.1.0"  # Here alone: the build reads it, too.

# Here, because OpenVINO reports as soon as it is imported, and every module of edgepose that imports it comes after this one.
keep_quiet()

# Where each public name lives. Nothing is imported before it is asked for: OpenVINO, OpenCV and Numba take a second to
# load, and `import edgepose` should take none.
_HOME = {
    "COCO17": "skeleton",
    "CameraOptions": "media.cameras",
    "DeviceError": "errors",
    "DownloadError": "errors",
    "EdgePoseError": "errors",
    "EstimatedFrame": "estimator",
    "Frame": "media.frames",
    "HALPE26": "skeleton",
    "InputError": "errors",
    "MPII16": "skeleton",
    "MissingExtraError": "errors",
    "MissingLibraryError": "errors",
    "ModelError": "errors",
    "OPENPOSE18": "skeleton",
    "OutputError": "errors",
    "PersonIndexError": "errors",
    "PoseEstimator": "estimator",
    "Poses": "poses",
    "Sink": "media.sinks",
    "Sinks": "media.sinks",
    "Skeleton": "skeleton",
    "Source": "media.frames",
    "SourceError": "errors",
    "Tracker": "tracking",
    "UnknownModelError": "errors",
    "WHOLEBODY133": "skeleton",
    "check_screen": "media.window",
    "decode_poses": "decoding.paf",
    "draw_poses": "drawing",
    "make_skeleton": "skeleton",
    "open_sinks": "media.sinks",
    "open_source": "media.sources",
    "read_image": "media.images",
    "write_image": "media.images",
}

__all__ = [
    "COCO17",
    "HALPE26",
    "MPII16",
    "OPENPOSE18",
    "WHOLEBODY133",
    "CameraOptions",
    "DeviceError",
    "DownloadError",
    "EdgePoseError",
    "EstimatedFrame",
    "Frame",
    "InputError",
    "MissingExtraError",
    "MissingLibraryError",
    "ModelError",
    "OutputError",
    "PersonIndexError",
    "PoseEstimator",
    "Poses",
    "Sink",
    "Sinks",
    "Skeleton",
    "Source",
    "SourceError",
    "Tracker",
    "UnknownModelError",
    "check_screen",
    "decode_poses",
    "draw_poses",
    "make_skeleton",
    "open_sinks",
    "open_source",
    "read_image",
    "write_image",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = importlib.import_module(f"{__name__}.{_HOME[name]}")
    except ImportError as error:
        from edgepose.errors import missing_library

        raise missing_library(error) or error from None
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
