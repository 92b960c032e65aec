"""A value that is computed once, when any caller first asks for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Generic, TypeVar

_Value = TypeVar("_Value")


class Once(Generic[_Value]):
    """Call it for the value. All callers get the same one, from any thread; or all get the same error.

    Callers who ask while another thread computes wait for it. After a caller was interrupted (Ctrl-C) the next one computes
    anew, so that `compute` must allow being run again after it was cut short.

    Args:
        compute: Makes the value, or raises. It is released as soon as it has returned.
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
        except SystemError:  # An interruption inside a compiled kernel: Numba's dispatcher turns it into this.
            raise
        except Exception as error:
            self._error, self._traceback = error, error.__traceback__
        self._compute = None
