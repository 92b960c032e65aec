"""The Numba decorator that all kernels share: compiled without the GIL, and kept on disk wherever that is possible."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

import numba
from numba.core.compiler_lock import global_compiler_lock

from edgepose.caches import exclusive, has_warned, user_cache, warn_uncached
from edgepose.kernels.cache import KernelCache

# Typed as anything: Numba makes its settings at import, out of sight of type checkers.
_config: Any = numba.config
_log = logging.getLogger(__name__)
_Kernel = TypeVar("_Kernel", bound=Callable[..., Any])


class _Compiling:
    """The compilations of this process that are under way, and whether it has announced one; guarded by Numba's own lock."""

    depth = 0
    announced = False


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
    compiled = numba.njit(**options)(function)
    cache = _cache(function)
    if cache is not None:
        compiled._cache = cache
        compiled.compile = _one_process_at_a_time(compiled.compile, compiled, cache)
    return compiled  # type: ignore[no-any-return]


def _cache(function: Callable[..., Any]) -> KernelCache | None:
    usual, own = _config.CACHE_DIR, user_cache()
    reason: Exception | str = "the user has no home"
    for folder in (usual, *([] if own is None else [str(own)])):
        _config.CACHE_DIR = folder
        try:
            return KernelCache(function)
        except (RuntimeError, OSError) as error:  # Numba's "no locator available" is a RuntimeError.
            _log.debug("no kernel cache in %s: %s", folder or "the usual place", error)
            reason = reason if own is None else f"{folder or 'the usual place'} cannot be written"
        finally:
            _config.CACHE_DIR = usual
    warn_uncached("compiled kernels", reason)
    return None


def _one_process_at_a_time(compile_it: Callable[[Any], Any], compiled: Any, cache: KernelCache) -> Callable[[Any], Any]:
    """Numba's `compile`, which loads a kernel or compiles it; the others that start at the same time wait, and load it then."""

    def compile_alone(signature: Any) -> Any:
        # Numba's lock first, as where a kernel of somebody else's calls this one: two locks in two orders would be a deadlock.
        with global_compiler_lock:
            if _Compiling.depth or cache.holds(signature, compiled.targetctx):
                return compile_it(signature)
            if not (_Compiling.announced or has_warned()):
                _Compiling.announced = True
                _log.info("compiling kernels for this processor, once; this takes a while")
            with exclusive(cache.cache_path):
                _Compiling.depth += 1
                try:
                    return compile_it(signature)
                finally:
                    _Compiling.depth -= 1

    return compile_alone
