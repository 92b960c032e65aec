"""The Numba decorator that all kernels share: compiled without the GIL, cached on disk wherever that is possible."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

import numba
import platformdirs

# Typed as anything: Numba makes its settings at import, out of sight of type checkers.
_config: Any = numba.config
_log = logging.getLogger(__name__)
_Kernel = TypeVar("_Kernel", bound=Callable[..., Any])


def fused_kernel(function: _Kernel) -> _Kernel:
    """A `kernel` in which a multiply and an add may become one instruction; for results that need not agree to the last bit."""
    return _compile(function, fastmath={"contract"})


def kernel(function: _Kernel) -> _Kernel:
    """Compile `function` at its first call; several threads may run it at once.

    The machine code is kept in Numba's usual place (beside the source, `NUMBA_CACHE_DIR`, or the user's own folder); if
    nothing there can be written, in edgepose's cache folder; and if not even there, it is compiled anew in each process.

    A kernel calls kernels of its own file alone. Numba compiles a kernel again when its own file changes, but does not look at
    other files, so that it would keep on using old versions of kernels from there.
    """
    return _compile(function)


def _compile(function: _Kernel, **more: Any) -> _Kernel:
    # No other "fastmath": maps may hold NaN.
    # "numpy" makes a division by zero infinity; Python's exception would keep loops from running in vector registers.
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", **more}
    usual = _config.CACHE_DIR
    for folder in (usual, platformdirs.user_cache_dir("edgepose", appauthor=False)):
        _config.CACHE_DIR = folder
        try:
            return numba.njit(cache=True, **options)(function)  # type: ignore[no-any-return]
        except (RuntimeError, OSError) as error:  # Numba's "no locator available" is a RuntimeError
            _log.debug("no kernel cache in %s: %s", folder or "the usual place", error)
        finally:
            _config.CACHE_DIR = usual
    _log.warning("no writable folder to cache compiled kernels in; set NUMBA_CACHE_DIR to one to start faster")
    return numba.njit(**options)(function)  # type: ignore[no-any-return]
