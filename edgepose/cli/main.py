"""The command `edgepose`: parses the command line, calls the library, and prints. It has no logic of its own.

Exit status: 0 done; 1 the work failed, with one line on stderr; 2 wrong usage; 130 interrupted, what was computed is kept.
Before anything is written, all is checked: the options, the outputs, the screen, the source and the model.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import edgepose
from edgepose.cli.measure import add_benchmark_options, add_eval_options, evaluate_model, measure_speed
from edgepose.cli.options import add_estimator_options, make_estimator, spared_models
from edgepose.cli.run import add_run_options, run
from edgepose.cli.serve import add_serve_options, serve
from edgepose.cli.tables import count, print_models
from edgepose.errors import EdgePoseError, OutputError, missing_library
from edgepose.media.kinds import IMAGE_SUFFIXES
from edgepose.process import ended_by_signals, fill_standard_streams, leave


def program() -> None:
    """Run the command, and end the program with its exit status."""
    status = main()
    leave(status)
    sys.exit(status)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = make_parser().parse_args(arguments)
    logging.basicConfig(format="edgepose: %(message)s", level=logging.INFO if options.verbose else logging.WARNING)
    logging.getLogger("edgepose.kernels.jit").setLevel(logging.INFO)  # It says why the first start takes so long.
    # OpenCV and its FFmpeg print pages about a missing camera or a damaged video, which the errors here say in a line.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    fill_standard_streams()
    command: Callable[[argparse.Namespace], int] = options.command
    with ended_by_signals():
        try:
            status = command(options)
            if sys.stdout is not None:
                sys.stdout.flush()  # Here, where a full disk can be reported.
        except EdgePoseError as error:
            print(f"edgepose: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("edgepose: interrupted; what was computed is kept", file=sys.stderr)
            return 130
        except ImportError as error:
            lacking = missing_library(error)
            if lacking is None:
                raise
            print(f"edgepose: {lacking}", file=sys.stderr)
            return 1
        except OSError as error:
            if sys.stdout is not None:
                # What standard output does not take now it does not take at exit, either, where it would be another error.
                with suppress(OSError):
                    sys.stdout.flush()
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if isinstance(error, BrokenPipeError):
                return 0  # The reader of our output has enough, as with `| head`.
            print(f"edgepose: {error}", file=sys.stderr)
            return 1
        else:
            return status


def _demo(options: argparse.Namespace) -> int:
    from edgepose.drawing import draw_poses
    from edgepose.media.images import read_image, sample_photo, write_image
    from edgepose.media.outputs import check_file

    output: Path = options.save
    if output.suffix.lower() not in IMAGE_SUFFIXES:
        raise OutputError(f"{output}: unknown image suffix {output.suffix!r}; expected one of {', '.join(IMAGE_SUFFIXES)}")
    check_file(output, [] if options.image is None else [options.image])
    check_file(output, spared_models(options), "a file of the model")
    image = sample_photo("demo") if options.image is None else read_image(options.image)
    estimator = make_estimator(options)
    estimator(image)  # the first call compiles for this picture's shape
    started = time.perf_counter()
    poses = estimator(image)
    milliseconds = (time.perf_counter() - started) * 1000
    write_image(output, draw_poses(image, poses))
    print(f"{count(len(poses), 'person', 'people')} found by {estimator.model.name} in {milliseconds:.0f} ms")
    for number, person in enumerate(poses, 1):
        names = [name for name, score in zip(person.skeleton.keypoints, person.scores[0], strict=True) if score > 0]
        print(f"  {number}. confidence {person.confidence[0]:.2f}: {', '.join(names)}")
    print(f"annotated picture: {output.resolve()}")
    return 0


def _models(options: argparse.Namespace) -> int:
    from edgepose.zoo import download, registry

    if options.action == "path":
        print(download.models_dir())
    elif options.action == "list":
        print_models()
    elif options.action == "info":
        print(registry.to_yaml(registry.get(options.name)), end="")
    else:
        model = registry.get(options.name)
        path = download.fetch(model, progress=True)
        print(path)
        if model.conversion:
            print(f"edgepose: a checkpoint; convert it with: {model.conversion}", file=sys.stderr)
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from edgepose.doctor import examine

    failures = 0
    for check in examine():
        failures += not check.passed
        print(f"{'ok  ' if check.passed else 'FAIL'} {check.name}: {check.finding}")
    return 1 if failures else 0


def make_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = argparse.ArgumentParser(prog="edgepose", description="Multi-person pose estimation on ordinary CPUs.")
    parser.add_argument(
        "--version", action="version", version=f"edgepose {edgepose.__version__}", help="Print the version and exit."
    )
    parser.add_argument("--verbose", action="store_true", help="Log on standard error what is done.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    about = "Find the people in images, videos, folders of them, or the picture of a camera."
    add_run_options(_add_command(commands, "run", run, about))

    about = "Serve the live picture of a source to browsers, and poses over HTTP and WebSocket."
    add_serve_options(_add_command(commands, "serve", serve, about))

    about = "Find the people in a sample photo: print them and the time, and write the annotated picture."
    demo = _add_command(commands, "demo", _demo, about)
    demo.add_argument("--image", type=Path, metavar="PATH", help="Take this photo instead of the sample.")
    demo.add_argument(
        "--save",
        "--output",
        type=Path,
        default=Path("edgepose-demo.jpg"),
        metavar="PATH",
        help="Write the annotated picture to this file. The default is %(default)s.",
    )
    add_estimator_options(demo)

    about = "Measure the frame rate of a model with all that is around it, of its bare network, and the time of every stage."
    add_benchmark_options(_add_command(commands, "benchmark", measure_speed, about))

    models = _add_command(commands, "models", _models, "List, describe and download models.")
    actions = models.add_subparsers(required=True, dest="action", metavar="ACTION")
    for action, about, takes_name in (
        ("list", "List all models, with task, licence and accuracy.", False),
        ("info", "Print all that is known of a model.", True),
        ("download", "Download the files of a model, and print where they are.", True),
        ("path", "Print the folder that models are kept in.", False),
    ):
        one = actions.add_parser(action, help=about, description=about)
        if takes_name:
            one.add_argument("name", metavar="MODEL", help="The name of the model, as `edgepose models list` shows it.")

    about = "Measure the accuracy of a model: COCO's keypoint AP, or MPII's PCKh, on annotated images."
    add_eval_options(_add_command(commands, "eval", evaluate_model, about))

    _add_command(commands, "doctor", _doctor, "Check versions, processor, devices and models, and whether they work together.")
    return parser


def _add_command(commands: Any, name: str, call: Callable[[argparse.Namespace], int], about: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=about, description=about)
    parser.set_defaults(command=call)
    return parser
