"""The commands `edgepose benchmark` and `edgepose eval`: how fast a model is, and how accurate."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from edgepose.cli.options import add_estimator_options, add_following_options, make_estimator, spared_models, whole
from edgepose.cli.tables import benchmark_table, check_figures, print_evaluation, progress_bar, write_figures
from edgepose.process import lean_imports

_JSON = "Write the figures as JSON to this file; - is standard output."


def add_benchmark_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `edgepose benchmark`."""
    add = parser.add_argument
    about = "Measure on the frames of this video, or the images of this folder. By default they are synthetic."
    add("--source", metavar="SOURCE", help=about)
    add("--frames", type=whole(1), default=300, metavar="N", help="Measure N frames. The default is %(default)s.")
    add("--json", metavar="PATH", help=_JSON)
    add_following_options(parser)
    add("--compare", nargs="+", metavar="MODEL", help="Measure each of these models, in place of --model.")
    add_estimator_options(parser)


def add_eval_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `edgepose eval`."""
    add = parser.add_argument
    about = "Compare with these annotations, COCO's JSON of keypoints, or MPII's for PCKh."
    add("--annotations", type=Path, required=True, metavar="PATH", help=about)
    about = "Measure COCO's AP, or the share of joints found within half a head's size: PCKh@0.5. The default is %(default)s."
    add("--metric", choices=("ap", "pckh"), default="ap", help=about)
    add("--images", type=Path, required=True, metavar="DIR", help="Find the images in this folder.")
    add("--json", metavar="PATH", help=_JSON)
    add("--max-images", type=whole(1), metavar="N", help="Stop after N images.")
    about = (
        "Take the boxes of people for a top-down model from the annotations, or let a detector find them. The default is "
        "detector, and for PCKh annotations."
    )
    add("--boxes", choices=("annotations", "detector"), help=about)
    add_estimator_options(parser)


def evaluate_model(options: argparse.Namespace) -> int:
    """Measure the accuracy of a model on annotated images; returns the exit status."""
    if options.metric == "pckh":
        from edgepose.cli import pckh

        return pckh.measure(options, spared_models(options), progress_bar)
    from edgepose.evaluation import LEAST_SCORE, evaluate

    options.boxes = options.boxes or "detector"
    if options.json:
        check_figures(options.json, [options.annotations], spared_models(options))

    def listed(images: list[dict[str, Any]]) -> Iterable[dict[str, Any]]:
        """The images of the annotations, with a progress bar; only now is it known which they are."""
        if options.json:
            check_figures(options.json, [options.images / image["file_name"] for image in images], [])
        progress: Iterable[dict[str, Any]] = progress_bar(images, None, "images")
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


def measure_speed(options: argparse.Namespace) -> int:
    """Measure the frame rate of one model, or of several; returns the exit status."""
    with lean_imports():
        from edgepose.benchmark import benchmark
    from edgepose.media.sources import source_files

    if options.json:
        check_figures(options.json, source_files(options.source), spared_models(options))
    benchmarks = []
    for name in options.compare or [options.model]:
        estimator = make_estimator(argparse.Namespace(**{**vars(options), "model": name}))
        benchmarks.append(benchmark(estimator, options.source, frames=options.frames))
    reports = [each.to_dict() for each in benchmarks]
    file = write_figures(options.json, {"models": reports} if options.compare else reports[0])
    print(benchmark_table(benchmarks), file=file)
    return 0
