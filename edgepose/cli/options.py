"""Options that several commands share, with the camera and the estimator that they describe.

A size is WIDTHxHEIGHT in pixels wherever somebody types or reads one, as cameras, screens and videos have it; in Python it is
(height, width), as arrays have it.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edgepose.errors import InputError
from edgepose.process import lean_imports

if TYPE_CHECKING:
    from edgepose.estimator import PoseEstimator
    from edgepose.media.cameras import CameraOptions


# Arguments of `PoseEstimator` that options of the same name give.
_ARGUMENTS = (
    "batch_size", "detect_every", "detector", "device", "flip_test", "follow", "hint", "min_confidence", "min_score",
    "precision", "threads",
)  # fmt: skip


def add_source_options(parser: argparse.ArgumentParser) -> None:
    """Add the options about cameras, and about people over time."""
    add = parser.add_argument
    add(
        "--camera-size",
        type=size,
        metavar="WIDTHxHEIGHT",
        help="Ask the camera for frames of this size, such as 1280x720 pixels.",
    )
    add("--camera-fps", type=rate, metavar="FPS", help="Ask the camera for this many frames a second.")
    add("--track", action="store_true", help="Give people identities that last from frame to frame.")
    add("--smooth", action="store_true", help="Smooth the keypoints over time. This tracks people, too.")
    add_following_options(parser)


def add_following_options(parser: argparse.ArgumentParser) -> None:
    """Add the options about people who are followed from frame to frame of a video."""
    about = (
        "Look for people in the whole frame every N frames of a video, and follow them between; 1 looks in every frame. The "
        "default is half a second."
    )
    parser.add_argument("--detect-every", type=whole(1), metavar="N", help=about)
    about = (
        "Follow people in a video with a bottom-up model, too: run it on the part of the frame where they are. Top-down models "
        "always follow."
    )
    parser.add_argument("--follow", action="store_true", help=about)


def add_estimator_options(parser: argparse.ArgumentParser) -> None:
    """Add the options about the model, and about how it runs."""
    add = parser.add_argument
    about = "Use this model: a name that `edgepose models list` shows, or a model file. The default is `%(default)s`."
    add("--model", default="default", metavar="MODEL", help=about)
    about = (
        "Run the network on this device: CPU, GPU or another of OpenVINO's, or cuda for PyTorch. The default is %(default)s."
    )
    add("--device", default="CPU", metavar="DEVICE", help=about)
    add("--threads", type=whole(1), metavar="N", help="Use at most N threads of the processor. The default is all cores.")
    about = (
        "Make the network's input H pixels high (HigherHRNet: its short side). Smaller is faster, larger finds smaller people. "
        "The default is the model's own height."
    )
    add("--height", type=whole(1), metavar="H", help=about)
    about = "Tune for the quickest answer (latency) or for the most frames a second (throughput). The default is %(default)s."
    add("--hint", choices=("latency", "throughput"), default="latency", help=about)
    about = "Compute in this precision. The default is the device's own choice."
    add("--precision", choices=("f32", "f16", "bf16"), help=about)
    about = "Let this model, a detector or a bottom-up one, find the people for a top-down model. The default is `default`."
    add("--detector", metavar="MODEL", help=about)
    about = "Run a top-down network on at most N people together. The default is 1 with OpenVINO and 32 with PyTorch."
    add("--batch-size", type=whole(1), metavar="N", help=about)
    about = "Run a top-down model on mirrored people, too. That is somewhat more accurate, and takes twice the time."
    add("--flip-test", action="store_true", help=about)
    about = "Leave out keypoints that score less than S, from 0 to 1. The default is the model's own bound."
    add("--min-score", type=float, metavar="S", help=about)
    about = "Leave out people with a confidence of less than C, from 0 to 1. The default is the model's own bound."
    add("--min-confidence", type=float, metavar="C", help=about)


def home_expanded(text: str) -> str:
    """A path in which a "~" at the beginning is the user's home, as in `--save=~/out.mp4`, which shells leave alone."""
    return os.path.expanduser(text)


def local_path(text: str) -> Path:
    """`home_expanded` as a path, for argparse."""
    return Path(home_expanded(text))


def size(text: str) -> tuple[int, int]:
    """WIDTHxHEIGHT as two numbers, for argparse."""
    found = re.fullmatch(r"([0-9]{1,9})[xX]([0-9]{1,9})", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} given; expected WIDTHxHEIGHT in pixels, such as 1280x720")
    return int(found[1]), int(found[2])


def rate(text: str) -> float:
    """Frames a second as a number, for argparse."""
    try:
        fps = float(text)
    except ValueError:
        fps = 0.0
    if not 0 < fps <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} given; expected a number above 0, to 1000")
    return fps


def seconds(text: str) -> float:
    """A time as seconds, MM:SS or HH:MM:SS, for argparse."""
    found = re.fullmatch(r"(?:(?:([0-9]{1,4}):)?([0-9]{1,5}):)?([0-9]{1,9}(?:\.[0-9]{1,9})?)", text)
    if not found or (found[1] and int(found[2]) >= 60) or (found[2] and float(found[3]) >= 60):
        raise argparse.ArgumentTypeError(f"{text!r} given; expected seconds, MM:SS or HH:MM:SS, such as 90.5 or 1:30.5")
    hours, minutes, rest = found.groups()
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(rest)


def whole(least: int) -> Callable[[str], int]:
    """A function that reads a whole number from `least` on, for argparse."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,18}", text) or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} given; expected a whole number from {least}")
        return int(text)

    return parse


def make_camera(options: argparse.Namespace) -> CameraOptions:
    """The camera's settings that `add_source_options` asks for."""
    from edgepose.media.cameras import CameraOptions

    width, height = options.camera_size or (None, None)
    return CameraOptions(width, height, options.camera_fps)


@lean_imports()
def make_estimator(
    options: argparse.Namespace, *, min_score: float | None = None, min_confidence: float | None = None
) -> PoseEstimator:
    """The estimator that `add_estimator_options` describes; `min_score` and `min_confidence` where the user says neither."""
    from edgepose.estimator import PoseEstimator

    try:
        return PoseEstimator(
            options.model,
            device=options.device,
            input_size=options.height,
            threads=options.threads,
            hint=options.hint,
            precision=options.precision,
            detector=options.detector,
            batch_size=options.batch_size,
            flip_test=options.flip_test,
            follow=getattr(options, "follow", False),
            detect_every=getattr(options, "detect_every", None),
            min_score=min_score if options.min_score is None else options.min_score,
            min_confidence=min_confidence if options.min_confidence is None else options.min_confidence,
        )
    except InputError as error:
        error.args = (_as_option(str(error)),)
        raise


def _as_option(message: str) -> str:
    """A message about an argument of `PoseEstimator`, with the name of the option that gives it."""
    argument = re.match(r"input size|[a-z]+(?:_[a-z]+)*", message)
    name = argument[0] if argument else ""
    options = {each: f"--{each.replace('_', '-')}" for each in _ARGUMENTS} | {
        "input_size": "--height",
        "input size": "--height",
    }
    return options.get(name, name) + message.removeprefix(name)


def spared_models(options: argparse.Namespace) -> list[Path]:
    """The files of the models, and of their detectors, none of which may be written over."""
    from edgepose.zoo.local import model_files

    names = [options.model, options.detector, *(getattr(options, "compare", None) or [])]
    return [file for name in names for file in model_files(name)]
