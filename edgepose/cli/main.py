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
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import edgepose
from edgepose.cli.options import (
    add_estimator_options,
    add_following_options,
    add_source_options,
    make_camera,
    make_estimator,
    whole,
)
from edgepose.cli.serve import add_serve_options, serve
from edgepose.cli.tables import (
    add_what_is_kept,
    benchmark_table,
    check_figures,
    count,
    print_evaluation,
    print_models,
    report_run,
    write_figures,
)
from edgepose.errors import EdgePoseError, OutputError
from edgepose.media.kinds import IMAGE_SUFFIXES, POSES
from edgepose.process import ended_by_signals, fill_standard_streams, lean_imports


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = make_parser().parse_args(arguments)
    logging.basicConfig(format="edgepose: %(message)s", level=logging.INFO if options.verbose else logging.WARNING)
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


def _run(options: argparse.Namespace) -> int:
    with lean_imports():
        from edgepose.media.sinks import open_sinks
        from edgepose.media.sources import open_source
        from edgepose.media.window import Window, check_screen
        from edgepose.watch import watch

    if options.show:
        check_screen()
    with ExitStack() as stack:
        source = stack.enter_context(open_source(options.source, max_frames=options.max_frames, camera=make_camera(options)))
        outputs = open_sinks(source, save=options.save, poses=options.json, format=options.format, spared=_model_files(options))
        sinks = stack.enter_context(outputs)
        estimator = make_estimator(options)
        window = stack.enter_context(Window(f"edgepose: {source.name}")) if options.show else None
        try:
            watched = watch(
                estimator,
                source,
                sinks=sinks,
                window=window,
                figures=options.figures,
                track=options.track,
                smooth=options.smooth,
                progress=lambda frames: _progress(frames, source.total, "frames"),
            )
        except EdgePoseError as error:
            if sinks.written and (options.save or options.json):
                add_what_is_kept(error, sinks.written)
            raise
    report_run(source, watched)
    return 1 if source.skipped else 0


def _demo(options: argparse.Namespace) -> int:
    from edgepose.drawing import draw_poses
    from edgepose.media.images import read_image, sample_photo, write_image
    from edgepose.media.outputs import check_file

    output: Path = options.save
    if output.suffix.lower() not in IMAGE_SUFFIXES:
        raise OutputError(f"{output}: unknown image suffix {output.suffix!r}; expected one of {', '.join(IMAGE_SUFFIXES)}")
    check_file(output, [] if options.image is None else [options.image])
    check_file(output, _model_files(options), "a file of the model")
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


def _eval(options: argparse.Namespace) -> int:
    from edgepose.evaluation import LEAST_SCORE, evaluate

    if options.json:
        check_figures(options.json, [options.annotations], _model_files(options))

    def listed(images: list[dict[str, Any]]) -> Iterable[dict[str, Any]]:
        """The images of the annotations, with a progress bar; only now is it known which they are."""
        if options.json:
            check_figures(options.json, [options.images / image["file_name"] for image in images], [])
        progress: Iterable[dict[str, Any]] = _progress(images, None, "images")
        return progress

    # AP is computed from precision and recall over all confidences, so that nobody is left out, as `run` does.
    estimator = make_estimator(options, min_score=LEAST_SCORE, min_confidence=0.0)
    evaluation = evaluate(
        estimator,
        options.annotations,
        options.images,
        boxes=options.boxes,
        max_images=options.max_images,
        progress=listed,
    )
    protocol = {
        "model": estimator.model.name,
        "input_size": estimator.input_size,
        "boxes": options.boxes,
        "min_score": estimator.min_score,
        "min_confidence": estimator.min_confidence,
        "flip_test": options.flip_test,
    }
    file = write_figures(options.json, {**evaluation.to_dict(), **protocol})
    print_evaluation(evaluation, protocol, options.annotations, file)
    return 0


def _benchmark(options: argparse.Namespace) -> int:
    with lean_imports():
        from edgepose.benchmark import benchmark
    from edgepose.media.sources import source_files

    if options.json:
        check_figures(options.json, source_files(options.source), _model_files(options))
    benchmarks = []
    for name in options.compare or [options.model]:
        estimator = make_estimator(argparse.Namespace(**{**vars(options), "model": name}))
        benchmarks.append(benchmark(estimator, options.source, frames=options.frames))
    reports = [each.to_dict() for each in benchmarks]
    file = write_figures(options.json, {"models": reports} if options.compare else reports[0])
    print(benchmark_table(benchmarks), file=file)
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from edgepose.doctor import examine

    failures = 0
    for check in examine():
        failures += not check.passed
        print(f"{'ok  ' if check.passed else 'FAIL'} {check.name}: {check.finding}")
    return 1 if failures else 0


def _progress(items: Any, total: int | None, unit: str) -> Any:
    from tqdm import tqdm

    return tqdm(items, total=total, unit=f" {unit}", disable=None, leave=False)  # None: silent if stderr is no terminal


def _model_files(options: argparse.Namespace) -> list[Path]:
    """The files of the models, and of their detectors, none of which may be written over."""
    from edgepose.zoo.local import model_files

    names = [options.model, options.detector, *(getattr(options, "compare", None) or [])]
    return [file for name in names for file in model_files(name)]


def make_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = argparse.ArgumentParser(prog="edgepose", description="Multi-person pose estimation on ordinary CPUs.")
    parser.add_argument(
        "--version", action="version", version=f"edgepose {edgepose.__version__}", help="Print the version and exit."
    )
    parser.add_argument("--verbose", action="store_true", help="Log on standard error what is done.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    json_figures = "Write the figures as JSON to this file; - is standard output."

    run = _add_command(commands, "run", _run, "Find the people in an image, a folder, a video or the picture of a camera.")
    run.add_argument(
        "source",
        metavar="SOURCE",
        help="The name of an image, a folder of images, a 'pattern*.jpg', a video or a camera (0, /dev/video0, picamera), or "
        "the rtsp:// or http:// address of a stream.",
    )
    add_estimator_options(run)
    run.add_argument(
        "--show",
        action="store_true",
        help="Show the annotated frames in a window. The key q ends the run, s saves the picture, and space pauses.",
    )
    run.add_argument(
        "--no-hud",
        dest="figures",
        action="store_false",
        help="Show the frames without the rate and the counts in their corner.",
    )
    add_source_options(run)
    run.add_argument(
        "--save",
        type=Path,
        metavar="PATH",
        help="Write the annotated frames: PATH is a video, an image for a single image, or a folder.",
    )
    run.add_argument(
        "--json",
        metavar="PATH",
        help="Write the poses: PATH is a file, a folder for the format openpose, or - for standard output.",
    )
    run.add_argument(
        "--format",
        choices=tuple(POSES),
        help="Write --json in this format. By default it is the one that the suffix of its name says; for .json and "
        "any other suffix, it is json for images, and jsonl for videos and cameras.",
    )
    run.add_argument("--max-frames", type=whole(0), metavar="N", help="Stop after N frames.")

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
    bench = _add_command(commands, "benchmark", _benchmark, about)
    bench.add_argument(
        "--source",
        metavar="SOURCE",
        help="Measure on the frames of this video, or the images of this folder. By default they are synthetic.",
    )
    bench.add_argument(
        "--frames", type=whole(1), default=300, metavar="N", help="Measure N frames. The default is %(default)s."
    )
    bench.add_argument("--json", metavar="PATH", help=json_figures)
    add_following_options(bench)
    bench.add_argument("--compare", nargs="+", metavar="MODEL", help="Measure each of these models, in place of --model.")
    add_estimator_options(bench)

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

    evaluation = _add_command(
        commands, "eval", _eval, "Measure the accuracy of a model: COCO's keypoint AP on annotated images."
    )
    evaluation.add_argument(
        "--annotations",
        type=Path,
        required=True,
        metavar="PATH",
        help="Compare with these annotations, COCO's JSON of keypoints.",
    )
    evaluation.add_argument("--images", type=Path, required=True, metavar="DIR", help="Find the images in this folder.")
    evaluation.add_argument("--json", metavar="PATH", help=json_figures)
    evaluation.add_argument("--max-images", type=whole(1), metavar="N", help="Stop after N images.")
    evaluation.add_argument(
        "--boxes",
        choices=("annotations", "detector"),
        default="detector",
        help="Take the boxes of people for a top-down model from the annotations, or let a detector find them. The "
        "default is %(default)s.",
    )
    add_estimator_options(evaluation)

    _add_command(commands, "doctor", _doctor, "Check versions, processor, devices and models, and whether they work together.")
    return parser


def _add_command(commands: Any, name: str, call: Callable[[argparse.Namespace], int], about: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=about, description=about)
    parser.set_defaults(command=call)
    return parser
