"""Parts that the programs of this folder share: types of arguments, checks, and exit statuses.

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

from edgepose.cli.options import size
from edgepose.errors import EdgePoseError, InputError, MissingExtraError
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


def add_input_size(parser: argparse._ActionsContainer, about: str, default: tuple[int, int] | None = None) -> None:
    """Add `--input-size WIDTHxHEIGHT`, which gives (height, width), and refuse `--size`, which took the height first."""

    def turned(text: str) -> tuple[int, int]:
        width, height = size(text)
        if not (width and height):
            raise argparse.ArgumentTypeError(f"{text!r} given; expected WIDTHxHEIGHT in pixels, both from 1")
        return height, width

    def refuse(text: str) -> None:
        height, _, width = text.partition("x")
        example = f"{width}x{height}" if width and height else "456x256"
        raise argparse.ArgumentTypeError(f"{text!r} given, height first; expected width first: --input-size {example}")

    parser.add_argument("--input-size", type=turned, default=default, metavar="WIDTHxHEIGHT", help=about)
    parser.add_argument("--size", type=refuse, default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def check_input_size(size: tuple[int, int], multiple: int) -> None:
    """Check that a network takes an input of this size, (height, width).

    Raises:
        InputError: A side is no multiple of `multiple`.
    """
    height, width = size
    if height % multiple or width % multiple:
        raise InputError(f"--input-size is {width}x{height}; expected multiples of {multiple}")


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
