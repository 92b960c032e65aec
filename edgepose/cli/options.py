"""Options that several commands share, and what is made of them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from edgepose.process import lean_imports

if TYPE_CHECKING:
    from edgepose.estimator import PoseEstimator
    from edgepose.media.cameras import CameraOptions


def add_source_options(parser: argparse.ArgumentParser) -> None:
    """What is asked of a camera, and what is done over time."""
    parser.add_argument("--camera-size", type=size, metavar="WxH", help="frame size to ask of a camera, such as 1280x720")
    parser.add_argument("--camera-fps", type=float, metavar="FPS", help="frames a second to ask of a camera")
    parser.add_argument("--track", action="store_true", help="give people identities that last from frame to frame")
    parser.add_argument("--smooth", action="store_true", help="smooth keypoints over time (implies --track)")


def add_estimator_options(parser: argparse.ArgumentParser) -> None:
    """The model, and how it runs."""
    parser.add_argument("--model", default="default", metavar="M", help="a name (see `edgepose models list`) or a model file")
    parser.add_argument("--device", default="CPU", metavar="D", help="OpenVINO device, or cuda (default: %(default)s)")
    parser.add_argument("--threads", type=whole(1), metavar="N", help="processor threads at most")
    parser.add_argument(
        "--height", type=whole(1), metavar="H", help="height of the network's input (HigherHRNet: short side), pixels"
    )
    parser.add_argument("--hint", choices=("latency", "throughput"), default="latency", help="what to tune for")
    parser.add_argument("--precision", choices=("f32", "f16", "bf16"), help="of the arithmetic; default: the device's choice")
    parser.add_argument("--detector", metavar="D", help="what finds people for a top-down model, such as default")
    parser.add_argument("--batch-size", type=whole(1), metavar="N", help="people in a run of a top-down network at most")
    parser.add_argument("--flip-test", action="store_true", help="top-down: also run mirrored, at twice the time")
    parser.add_argument(
        "--min-score", type=float, metavar="S", help="least score of a keypoint, 0 to 1 (default: the model's own)"
    )
    about = "least confidence of a person, 0 to 1 (default: the model's own)"
    parser.add_argument("--min-confidence", type=float, metavar="C", help=about)


def size(text: str) -> tuple[int, int]:
    """WIDTHxHEIGHT as two numbers."""
    width, cross, height = text.lower().partition("x")
    if not (cross and width.isdigit() and height.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} given; expected WIDTHxHEIGHT, such as 1280x720")
    return int(width), int(height)


def whole(least: int) -> Callable[[str], int]:
    """What parses a whole number from `least`."""

    def parse(text: str) -> int:
        if not text.lstrip("-").isdigit() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} given; expected a whole number from {least}")
        return int(text)

    return parse


def make_camera(options: argparse.Namespace) -> CameraOptions:
    """What `add_source_options` asks of a camera."""
    from edgepose.media.cameras import CameraOptions

    width, height = options.camera_size or (None, None)
    return CameraOptions(width, height, options.camera_fps)


@lean_imports()
def make_estimator(
    options: argparse.Namespace, *, min_score: float | None = None, min_confidence: float | None = None
) -> PoseEstimator:
    """The estimator that `add_estimator_options` describes; `min_score` and `min_confidence` where the user says neither."""
    from edgepose.estimator import PoseEstimator

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
        min_score=min_score if options.min_score is None else options.min_score,
        min_confidence=min_confidence if options.min_confidence is None else options.min_confidence,
    )
