"""The options of NNCF's quantisation, and how the command line asks for them. NNCF itself is not imported here."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from converters import command

PRESETS = ("mixed", "performance")


@dataclass(frozen=True)
class Recipe:
    """NNCF's options, as the command line has them.

    Attributes:
        preset: "mixed" has asymmetric activations, which ELU and the like need; "performance" symmetric ones.
        fast_bias_correction: The quick correction of biases, not the thorough one.
        bias_correction: Whether there is any.
        ignored: Regular expressions; operations with such names stay in floating point.
        ignored_types: Operations of these types do, too.
        headroom: Factor on the ranges of activations. NNCF's own ranges end at the mean of the maxima of the calibration
            inputs, so that half of all inputs are clipped where they are strongest, which is where keypoints are. With the
            factors 1.0, 1.3 and 1.6, the compact HRNet loses 1.5, 0.6 and 0.2 of its AP of 44.6 (with 1.0, clipping alone
            costs 1.3), and Lightweight OpenPose 0.5, 0.2 and 1.2 of 25.4.
    """

    preset: str = "mixed"
    fast_bias_correction: bool = True
    bias_correction: bool = True
    ignored: tuple[str, ...] = ()
    ignored_types: tuple[str, ...] = ()
    headroom: float = 1.3


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of a recipe; their defaults are the recipe's own."""
    add = parser.add_argument
    add("--preset", choices=PRESETS, default=Recipe.preset, help="NNCF's preset (default: %(default)s)")
    about = "names of operations to keep in floating point"
    add("--ignore", nargs="+", default=[], metavar="REGEX", help=about)
    add(
        "--ignore-types",
        nargs="+",
        default=[],
        metavar="TYPE",
        help="types of operations to keep in floating point, such as MVN",
    )
    add(
        "--thorough-bias-correction", action="store_true", help="correct biases by NNCF's slower way, which is sometimes better"
    )
    about = "factor on the ranges of activations: with wider ones, less is clipped (default: %(default)s)"
    add("--headroom", type=command.number(1, 10), default=Recipe.headroom, metavar="F", help=about)


def from_options(options: argparse.Namespace) -> Recipe:
    """The recipe that the command line asks for."""
    return Recipe(
        preset=options.preset, fast_bias_correction=not options.thorough_bias_correction,
        ignored=tuple(options.ignore), ignored_types=tuple(options.ignore_types), headroom=options.headroom,
    )  # fmt: skip
