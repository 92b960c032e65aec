"""What the programs of this folder share: their arguments, their errors and their exit status.

Exit status: 0 done; 1 the work failed, with one line on stderr; 2 wrong usage; 130 interrupted. Whatever fails leaves no file.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from converters.files import spare
from edgepose.errors import EdgePoseError, InputError, MissingExtraError
from edgepose.process import ended_by_signals
from edgepose.zoo.registry import Model

EXTRA = "convert"


def run(program: str, work: Callable[[], None], *, log: int = logging.INFO) -> int:
    """Do the work of a program; its exit status. What is logged below level `log` does not show."""
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
    """Make sure that packages of the extra are there, before any of them is imported half way through the work.

    Raises:
        MissingExtraError: One is not.
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


def share(text: str) -> float:
    """A number from 0 to 1, for argparse."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} given; expected a number from 0 to 1")
    return number


def file_name(text: str) -> str:
    """A plain file name, for argparse."""
    if not re.fullmatch(r"\w[\w.-]*", text):
        raise argparse.ArgumentTypeError(f"{text!r} given; expected a file name without folder and suffix")
    return text


def add_export_options(parser: argparse.ArgumentParser, entry: Model, name: str) -> None:
    """What every conversion of a checkpoint asks; `entry` is the zoo's model that it resembles."""
    shape = "x".join(map(str, entry.size))
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for NAME.xml and NAME.bin")
    parser.add_argument("--name", type=file_name, help=f"of the files (default: {name})")
    parser.add_argument("--size", type=size, default=entry.size, metavar="HxW", help=f"usual input size (default: {shape})")
    for name, what in (("score", "of a keypoint"), ("confidence", "of a person")):
        about = f"least {name} {what} that is shown (default: {getattr(entry, f'min_{name}'):g})"
        parser.add_argument(f"--min-{name}", type=share, default=getattr(entry, f"min_{name}"), metavar="S", help=about)
    parser.add_argument("--precision", choices=("FP16", "FP32"), default="FP16", help="of the weights (default: %(default)s)")
    parser.add_argument("--onnx", action="store_true", help="write NAME.onnx with a NAME.yaml, too")
    parser.add_argument("--photos", type=Path, nargs="+", default=[], help="to compare on (default: scikit-image's sample)")
    parser.add_argument("--source", default=entry.source, help="of the weights, for the model's note on itself")
    parser.add_argument("--licence", default=entry.licence, help="of the weights, likewise (default: %(default)s)")


def export_arguments(options: argparse.Namespace, entry: Model, name: str) -> dict[str, Any]:
    """The arguments of `converters.export.export` that `add_export_options` asked for.

    Raises:
        InputError: The size is not one that the network takes.
        OutputError: The checkpoint itself would be written over.
    """
    spare(options.output, options.name or name, [options.checkpoint, *options.photos])
    if any(side % entry.multiple for side in options.size):
        raise InputError(f"--size is {'x'.join(map(str, options.size))}; expected multiples of {entry.multiple}")
    model = replace(
        entry, name=options.name or name, size=options.size, min_score=options.min_score,
        min_confidence=options.min_confidence, source=options.source, licence=options.licence,
        files=(), conversion=None, gflops=None, ap=None, ap_protocol=None, notes=None,
    )  # fmt: skip
    return {
        "model": model, "folder": options.output, "precision": options.precision, "photos": options.photos,
        "onnx": options.onnx,
    }  # fmt: skip
