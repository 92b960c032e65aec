"""Checks of arguments that callers get wrong: each says what came and what was expected, and returns the plain value.

Numbers may be numpy's, and are Python's afterwards. True is no number, and NaN is in no range.
"""

from __future__ import annotations

import numbers
import os
import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgepose.errors import InputError

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 120


def shown(value: object) -> str:
    """A value as an error quotes it: on one line, and short however large it is."""
    try:
        text = _SHORT.repr(value)
    except Exception:  # A __repr__ that fails, or a number of thousands of digits.
        text = "..."
    text = " ".join(text.split())
    return text if value is None or isinstance(value, (str, bool, int, float, Path)) else f"{text} ({type(value).__name__})"


def whole(name: str, value: Any, least: int = 1) -> int | None:
    """A whole number from `least` on, or None."""
    if value is None:
        return None
    if not _is_whole(value) or value < least:
        raise InputError(f"{name} is {shown(value)}; expected {_from(least)}, or None")
    return int(value)


def share(name: str, value: Any) -> float | None:
    """A number from 0 to 1, or None."""
    if value is None:
        return None
    if not _is_number(value) or not 0 <= value <= 1:
        raise InputError(f"{name} is {shown(value)}; expected a number in [0, 1], or None")
    return float(value)


def choice(name: str, value: Any, choices: Sequence[str], *, none: bool = True) -> str | None:
    """One of some words, or None where that is one of them."""
    if (value is None and none) or (isinstance(value, str) and value in choices):
        return value
    words = ", ".join(map(repr, choices[:-1])) + f"{' or ' if len(choices) > 1 else ''}{choices[-1]!r}"
    raise InputError(f"{name} is {shown(value)}; expected {words}{', or None' if none else ''}")


def switch(name: str, value: Any) -> bool:
    """True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise InputError(f"{name} is {shown(value)}; expected True or False")
    return bool(value)


def text(name: str, value: Any, expected: str) -> str:
    """A string that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{name} is {shown(value)}; expected {expected}")
    return value


def name_or_path(name: str, value: Any, expected: str) -> str | Path:
    """A name or the path of a file."""
    if isinstance(value, os.PathLike) and not isinstance(value, Path):
        value = os.fspath(value)
    if isinstance(value, Path) and value != Path():
        return value
    if isinstance(value, str) and value.strip() and "\0" not in value:
        return value
    raise InputError(f"{name} is {shown(value)}; expected {expected}")


def size(name: str, value: Any) -> int | tuple[int, int] | None:
    """A height, a pair of height and width, or None."""
    if value is None:
        return None
    expected = "expected a height in pixels, a pair (height, width), or None"
    if _is_whole(value):
        if value < 1:
            raise InputError(f"{name} is {shown(value)}; {expected}")
        return int(value)
    if isinstance(value, (tuple, list, np.ndarray)) and len(np.shape(value)) == 1 and len(value) == 2:
        height, width = value
        if _is_whole(height) and _is_whole(width) and height >= 1 and width >= 1:
            return int(height), int(width)
    raise InputError(f"{name} is {shown(value)}; {expected}")


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_))


def _is_whole(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, (bool, np.bool_))


def _from(least: int) -> str:
    return f"a whole number from {least}" if least != 1 else "1 or more"
