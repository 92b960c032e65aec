"""The exception tree: everything that edgepose raises on purpose derives from `EdgePoseError`.

    EdgePoseError
     ├─ InputError (ValueError)         an array or argument of the wrong type, shape or range
     │   └─ PersonIndexError (IndexError)  an index of people who are not there, or none at all
     ├─ SourceError                     an image, video or camera that cannot be opened or read
     ├─ OutputError                     a file or folder that cannot be written
     ├─ ModelError                      a model file or its description does not fit
     │   ├─ UnknownModelError           no model of that name
     │   └─ DownloadError               a model file cannot be fetched, or what came is not what was asked for
     ├─ DeviceError                     a device or backend that is not there
     ├─ MissingExtraError (ImportError) an optional dependency is not installed
     └─ MissingLibraryError (ImportError) a library of the system is not installed

Messages say what came, what was expected and what to do about it, in one line.
"""

from __future__ import annotations


class EdgePoseError(Exception):
    """Base of all errors that edgepose raises on purpose."""


class InputError(EdgePoseError, ValueError):
    """An array or argument has the wrong type, shape or range."""


class PersonIndexError(InputError, IndexError):
    """An index into `Poses` is of somebody who is not there, or cannot be an index of people."""


class SourceError(EdgePoseError):
    """An image, folder, video or camera cannot be opened or read."""


class OutputError(EdgePoseError):
    """A file or folder cannot be written."""


class ModelError(EdgePoseError):
    """A model file cannot be read, or does not fit its description."""


class UnknownModelError(ModelError):
    """No model has this name."""


class DownloadError(ModelError):
    """A model file cannot be fetched, or what came is not what was asked for."""


class DeviceError(EdgePoseError):
    """A device or backend is not present on this machine."""


class MissingExtraError(EdgePoseError, ImportError):
    """An optional dependency is not installed.

    Args:
        package: The import that failed, as its users know it.
        extra: The extra of edgepose that installs it.
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f'{package} is not installed; install it with: python -m pip install "edgepose[{extra}]"')


class MissingLibraryError(EdgePoseError, ImportError):
    """A library of the system, which a package of Python needs, is not installed."""


# Packages of Debian and Ubuntu with the libraries that OpenCV's wheels expect of the system.
_SYSTEM_PACKAGES = {"libGL.": "libgl1", "libglib": "libglib2.0-0", "libgthread": "libglib2.0-0", "libxcb.": "libxcb1"}


def missing_library(error: ImportError) -> MissingLibraryError | None:
    """The error to raise instead of OpenCV's own where a library of the system is missing; None for any other `ImportError`."""
    library, _, reason = str(error).partition(":")
    if "cannot open shared object file" not in reason:
        return None
    package = next((package for start, package in _SYSTEM_PACKAGES.items() if library.startswith(start)), library)
    return MissingLibraryError(
        f"{library} is missing, which OpenCV needs; install it (Debian and Ubuntu: apt-get install {package}), or take OpenCV "
        "without windows: python -m pip uninstall -y opencv-python && python -m pip install opencv-python-headless"
    )
