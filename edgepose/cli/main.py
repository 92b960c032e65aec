"""The command `edgepose`: parses, calls, prints. No logic of its own.

Exit status: 0 done; 1 the work failed, with one line on stderr; 2 wrong usage; 130 interrupted, what was computed is kept.
Before anything is written, all is checked: the options, the outputs, the screen, the source and the model.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import edgepose
from edgepose.cli.options import add_estimator_options, add_source_options, make_camera, make_estimator, whole
from edgepose.cli.serve import add_serve_options, serve
from edgepose.errors import EdgePoseError, OutputError
from edgepose.process import ended_by_signals, fill_standard_streams, lean_imports

if TYPE_CHECKING:
    from edgepose.media.sources import Source
    from edgepose.watch import Watched

FORMATS = ("json", "jsonl", "coco", "openpose")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(format="edgepose: %(message)s", level=logging.INFO if options.verbose else logging.WARNING)
    # OpenCV and its FFmpeg print pages about a missing camera or a damaged video, which the errors here say in a line.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    fill_standard_streams()
    command: Callable[[argparse.Namespace], int] = options.command
    with ended_by_signals():
        try:
            return command(options)
        except EdgePoseError as error:
            print(f"edgepose: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("edgepose: interrupted; what was computed is kept", file=sys.stderr)
            return 130
        except BrokenPipeError:
            # The reader of our output is gone, as with `| head`; keep the interpreter from flushing into nothing at exit.
            if sys.stdout is not None:
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0


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
                hud=options.hud,
                track=options.track,
                smooth=options.smooth,
                progress=lambda frames: _progress(frames, source.total, "frames"),
            )
        except EdgePoseError as error:
            if sinks.written and (options.save or options.json):
                error.args = (f"{error}; what was found in {_count(sinks.written, 'frame')} before is kept",)
            raise
    _report_run(source, watched)
    return 1 if source.skipped else 0


def _report_run(source: Source, watched: Watched) -> None:
    rate = "" if watched.fps is None else f", {watched.fps:.1f} a second"
    dropped = f", {watched.dropped} dropped" if watched.dropped else ""
    found = _count(watched.people, "person", "people")
    print(f"{source.name}: {_count(watched.frames, 'frame')}{dropped}, {found} found{rate}", file=sys.stderr)
    for name, reason in source.skipped[:20]:
        print(f"edgepose: skipped {name}: {reason}", file=sys.stderr)
    if len(source.skipped) > 20:
        print(f"edgepose: skipped {len(source.skipped) - 20} more", file=sys.stderr)


def _demo(options: argparse.Namespace) -> int:
    from edgepose.drawing import draw_poses
    from edgepose.media.images import IMAGE_SUFFIXES, read_image, sample_photo, write_image

    output = Path(options.output)
    if output.suffix.lower() not in IMAGE_SUFFIXES:
        raise OutputError(f"{output}: unknown image suffix {output.suffix!r}; expected one of {', '.join(IMAGE_SUFFIXES)}")
    _check_output(output, [] if options.image is None else [options.image], _model_files(options))
    image = sample_photo("demo") if options.image is None else read_image(options.image)
    estimator = make_estimator(options)
    estimator(image)  # the first call compiles for this picture's shape
    started = time.perf_counter()
    poses = estimator(image)
    milliseconds = (time.perf_counter() - started) * 1000
    write_image(output, draw_poses(image, poses))
    print(f"{_count(len(poses), 'person', 'people')} found by {estimator.model.name} in {milliseconds:.0f} ms")
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
        rows = [("NAME", "MODEL", "SIZE", "AP", "MS", "FOR")]
        for alias in registry.aliases():
            height, width = registry.get(alias.name).size
            rows.append(
                (alias.name, alias.model, f"{height}x{width}", _or_dash(alias.ap), _or_dash(alias.ms), alias.purpose or "-")
            )
        _print_table(rows)
        print("AP in percent on 130 photos of COCO val2017, ms of a frame with one person on two cores with VNNI\n")
        rows = [("NAME", "TASK", "LICENCE", "AP", "GFLOPS", "STATE")]
        for name in registry.names():
            model = registry.get(name)
            state = "here" if download.find(model) else "needs conversion" if model.conversion else "to download"
            rows.append((name, model.task, model.licence or "-", _or_dash(model.ap), _or_dash(model.gflops), state))
        _print_table(rows)
        print("AP in percent, each with its own protocol: see `edgepose models info NAME`")
    elif options.action == "info":
        print(registry.to_yaml(registry.get(options.name)), end="")
    else:
        model = registry.get(options.name)
        path = download.fetch(model, progress=True)
        print(path)
        if model.conversion:
            print(f"edgepose: a checkpoint; convert it with: {model.conversion}", file=sys.stderr)
    return 0


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _or_dash(number: float | None) -> str:
    return "-" if number is None else f"{number:g}"


def _eval(options: argparse.Namespace) -> int:
    from edgepose.evaluation import LEAST_SCORE, evaluate

    if options.json:
        _check_figures(options.json, [options.annotations], _model_files(options))

    def listed(images: list[dict[str, Any]]) -> Iterable[dict[str, Any]]:
        """The images of the annotations, which are known only now, as they go by."""
        if options.json:
            _check_output(options.json, [options.images / image["file_name"] for image in images])
        progress: Iterable[dict[str, Any]] = _progress(images, None, "images")
        return progress

    # Precision and recall over all confidences are what AP is made of: nobody is left out, as in `run`.
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
    report = {**evaluation.to_dict(), **protocol}
    if options.json:
        _write_json(options.json, report)
    for name, value in evaluation.figures.items():
        print(f"{name:5} {value:5.1f}")
    size = (
        f"height {estimator.input_size}" if isinstance(estimator.input_size, int) else "x".join(map(str, estimator.input_size))
    )
    print(
        f"{estimator.model.name}, input {size}, keypoints from score {protocol['min_score']:g}, people from confidence "
        f"{protocol['min_confidence']:g}, {evaluation.images} images of "
        f"{options.annotations}, {'boxes of the annotations, ' if options.boxes == 'annotations' else ''}single scale, "
        f"{'flip test' if protocol['flip_test'] else 'no flip test'}; percent, pycocotools"
    )
    return 0


def _benchmark(options: argparse.Namespace) -> int:
    with lean_imports():
        from edgepose.benchmark import benchmark, table
    from edgepose.media.sources import source_files

    if options.json:
        _check_figures(options.json, source_files(options.source), _model_files(options))
    benchmarks = []
    for name in options.compare or [options.model]:
        estimator = make_estimator(argparse.Namespace(**{**vars(options), "model": name}))
        benchmarks.append(benchmark(estimator, options.source, frames=options.frames))
    if options.json:
        reports = [each.to_dict() for each in benchmarks]
        _write_json(options.json, {"models": reports} if options.compare else reports[0])
    print(table(benchmarks))
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
    """What no output may be written over: the files of the models, and of what finds people for them."""
    from edgepose.zoo.local import model_files

    names = [options.model, options.detector, *(getattr(options, "compare", None) or [])]
    return [file for name in names for file in model_files(name)]


def _check_output(path: Path, files: Iterable[Path], models: Iterable[Path] = ()) -> None:
    """Make sure that a file can be written as `path`, and is none of `files`, which are read, nor of `models`."""
    from edgepose.media.outputs import check_file

    check_file(path, files)
    check_file(path, models, "a file of the model")


def _check_figures(path: Path, files: Iterable[Path], models: Iterable[Path]) -> None:
    """`_check_output` for JSON."""
    from edgepose.media.images import IMAGE_SUFFIXES
    from edgepose.media.video_sink import VIDEO_CODECS

    if path.suffix.lower() in (*IMAGE_SUFFIXES, *VIDEO_CODECS):
        raise OutputError(f"{path}: has the suffix of a picture or video; figures go to a .json")
    _check_output(path, files, models)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    from edgepose.media.files import write_file

    write_file(path, json.dumps(content, indent=2).encode() + b"\n")


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edgepose", description="Multi-person pose estimation on ordinary CPUs.")
    parser.add_argument("--version", action="version", version=f"edgepose {edgepose.__version__}")
    parser.add_argument("--verbose", action="store_true", help="log what is done, on stderr")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="find the people in an image, a folder, a video or a camera")
    run.set_defaults(command=_run)
    run.add_argument(
        "source",
        metavar="SOURCE",
        help="image, folder, 'glob*.jpg', video, camera (0, /dev/video0, picamera), rtsp:// or http:// URL",
    )
    add_estimator_options(run)
    run.add_argument(
        "--show", action="store_true", help="show the annotated frames in a window (q ends, s saves, space pauses)"
    )
    run.add_argument("--no-hud", dest="hud", action="store_false", help="no rate and counts on the frames shown")
    add_source_options(run)
    run.add_argument("--save", type=Path, metavar="PATH", help="write annotated pictures: an image, a video, or a folder")
    run.add_argument("--json", metavar="PATH", help="write the poses: a file, a folder for openpose, or - for standard output")
    run.add_argument("--format", choices=FORMATS, help="of --json; default: json for images, jsonl for videos and cameras")
    run.add_argument("--max-frames", type=whole(0), metavar="N", help="stop after N frames")

    served = commands.add_parser("serve", help="the live picture in a browser, and poses over HTTP and WebSocket")
    served.set_defaults(command=serve)
    add_serve_options(served)

    demo = commands.add_parser("demo", help="the default model on a sample photo")
    demo.set_defaults(command=_demo)
    demo.add_argument("--image", type=Path, help="a photo of your own")
    demo.add_argument("--output", default="edgepose-demo.jpg", metavar="PATH", help="annotated picture (default: %(default)s)")
    add_estimator_options(demo)

    bench = commands.add_parser("benchmark", help="end-to-end rate, latency of every stage, and the bare network's rate")
    bench.set_defaults(command=_benchmark)
    bench.add_argument("--source", metavar="S", help="a video or a folder of images; default: synthetic frames of 1280 x 720")
    bench.add_argument("--frames", type=whole(1), default=300, metavar="N", help="to measure (default: %(default)s)")
    bench.add_argument("--json", type=Path, metavar="PATH", help="write the figures")
    bench.add_argument("--compare", nargs="+", metavar="M", help="several models side by side")
    add_estimator_options(bench)

    models = commands.add_parser("models", help="list, describe and download models")
    models.set_defaults(command=_models)
    actions = models.add_subparsers(required=True, dest="action", metavar="ACTION")
    actions.add_parser("list", help="all models, with task, licence and accuracy")
    for action, text in (("info", "all that is known of a model"), ("download", "fetch a model's files; prints the path")):
        actions.add_parser(action, help=text).add_argument("name", metavar="MODEL")
    actions.add_parser("path", help="the folder that models are kept in")

    evaluation = commands.add_parser("eval", help="COCO keypoint AP of a model")
    evaluation.set_defaults(command=_eval)
    evaluation.add_argument("--annotations", type=Path, required=True, metavar="JSON", help="COCO keypoint annotations")
    evaluation.add_argument("--images", type=Path, required=True, metavar="DIR", help="the folder of their images")
    evaluation.add_argument("--json", type=Path, metavar="PATH", help="write the figures and the protocol")
    evaluation.add_argument("--max-images", type=whole(1), metavar="N", help="the first N images alone")
    evaluation.add_argument(
        "--boxes",
        choices=("annotations", "detector"),
        default="detector",
        help="where a top-down model gets its boxes (default: %(default)s)",
    )
    add_estimator_options(evaluation)

    doctor = commands.add_parser("doctor", help="versions, processor, devices, models, and whether they work")
    doctor.set_defaults(command=_doctor)
    return parser


if __name__ == "__main__":
    sys.exit(main())
