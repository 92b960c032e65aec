"""A value that is computed once, when it is first asked for, whoever asks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Generic, TypeVar

_Value = TypeVar("_Value")


class Once(Generic[_Value]):
    """Call it for the value. All callers get the same one, from any thread; or all get the same error.

    Whoever asks while another thread computes waits for it. A caller who is interrupted (Ctrl-C) leaves nothing behind: the
    next one computes anew, so that `compute` has to bear being run again after it was cut short.

    Args:
        compute: Makes the value, or raises. It is let go of as soon as it has.
    """

    def __init__(self, compute: Callable[[], _Value]) -> None:
        self._compute: Callable[[], _Value] | None = compute
        self._lock = threading.Lock()
        self._value: _Value
        self._error: Exception | None = None
        self._traceback: TracebackType | None = None

    @property
    def is_done(self) -> bool:
        """Whether the value or the error is there, so that a call returns at once."""
        return self._compute is None

    def __call__(self) -> _Value:
        if self._compute is not None:
            with self._lock:
                self._settle()
        if self._error is not None:
            # With the traceback of the first time: one that grew with each call would keep all their callers' memory.
            raise self._error.with_traceback(self._traceback)
        return self._value

    def _settle(self) -> None:
        if self._compute is None:  # Another thread was first.
            return
        try:
            self._value = self._compute()
        except SystemError:  # How an interruption comes out of compiled kernels: Numba's dispatcher is no place for one.
            raise
        except Exception as error:
            self._error, self._traceback = error, error.__traceback__
        self._compute = None
