"""Parts that the programs of this folder share: types of arguments, checks, and the way from an error to an exit status.

Exit status: 0 done; 1 the work failed, with one line on stderr; 2 wrong usage; 130 interrupted. A failed run leaves no file.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import math
import re
import sys
from collections.abc import Callable

from edgepose.errors import EdgePoseError, MissingExtraError
from edgepose.process import ended_by_signals

EXTRA = "convert"


def run(program: str, work: Callable[[], None], *, log: int = logging.INFO) -> int:
    """Do the work of a program and return its exit status. Log messages below level `log` are not shown."""
    logging.basicConfig(format="%(message)s", level=log)
    with ended_by_signals():
        try:
            work()
        except EdgePoseError as error:
            print(f"{program}: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print(f"{program}: interrupted; nothing was written", file=sys.stderr)
            return 130
    return 0


def need(*packages: str) -> None:
    """Check, before the work begins, that packages of the extra are installed.

    Raises:
        MissingExtraError: One is not installed.
    """
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, EXTRA)


def size(text: str) -> tuple[int, int]:
    """`256x456` as (height, width), for argparse."""
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise argparse.ArgumentTypeError(f"{text!r} given; expected HxW, such as 256x456")
    return int(height), int(width)


def whole(text: str) -> int:
    """A whole number from 1, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} given; expected a whole number from 1")
    return int(text)


def number(least: float, most: float) -> Callable[[str], float]:
    """The type of arguments that are numbers from `least` to `most`, for argparse."""

    def convert(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r} given; expected a number from {least:g} to {most:g}")
        return value

    return convert


def file_name(text: str) -> str:
    """A plain file name, for argparse."""
    if not re.fullmatch(r"\w[\w.-]*", text):
        raise argparse.ArgumentTypeError(f"{text!r} given; expected a file name without folder and suffix")
    return text
