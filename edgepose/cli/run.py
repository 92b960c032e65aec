"""The command `edgepose run`: one source, or many files one after the other."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from edgepose.cli.options import (
    add_estimator_options,
    add_source_options,
    home_expanded,
    local_path,
    make_camera,
    make_estimator,
    seconds,
    spared_models,
    whole,
)
from edgepose.cli.tables import add_what_is_kept, progress_bar, report_many, report_run
from edgepose.errors import EdgePoseError, SourceError
from edgepose.media.kinds import CODECS, POSES
from edgepose.process import lean_imports

if TYPE_CHECKING:
    from edgepose.media.listing import Listing


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `edgepose run`."""
    add = parser.add_argument
    about = (
        "The name of an image, a video, a folder of them, a 'pattern*.jpg' or a camera (0, /dev/video0, picamera), or the "
        "rtsp:// or http:// address of a stream. There may be several."
    )
    add("sources", nargs="+", metavar="SOURCE", help=about)
    add_estimator_options(parser)
    about = "Show the annotated frames in a window. The key q ends the run, s saves the picture, and space pauses."
    add("--show", action="store_true", help=about)
    about = "Show the frames without the rate and the counts in their corner."
    add("--no-hud", dest="figures", action="store_false", help=about)
    add_source_options(parser)
    about = (
        "Write the annotated frames: PATH is a video, an image for a single image, or a folder. For several sources it is a "
        "folder, in which each has a file of its own name."
    )
    add("--save", type=local_path, metavar="PATH", help=about)
    about = "Write videos with this codec. The default is H.264; for .webm VP9, for .avi MJPEG."
    add("--codec", choices=CODECS, help=about)
    about = "Write videos of this constant quality: smaller is better and larger. The default is a good one for the codec."
    add("--crf", type=whole(0), metavar="N", help=about)
    add("--no-audio", dest="audio", action="store_false", help="Leave out the sound of a video.")
    about = (
        "Write the poses: PATH is a file, a folder for the format openpose, or - for standard output. For several sources it "
        "is one file for all, or a folder in which each has its own."
    )
    add("--json", type=home_expanded, metavar="PATH", help=about)
    about = (
        "Write --json in this format. By default it is the one that the suffix of its name says; for .json and any other "
        "suffix, it is json for images, and jsonl for videos and cameras."
    )
    add("--format", choices=tuple(POSES), help=about)
    add("--max-frames", type=whole(0), metavar="N", help="Stop after N frames of each source.")
    about = "Begin each video at this time: seconds, MM:SS or HH:MM:SS."
    add("--start", type=seconds, metavar="TIME", help=about)
    add("--end", type=seconds, metavar="TIME", help="End each video at this time: seconds, MM:SS or HH:MM:SS.")
    about = "Take the first frame of each source and every Nth after it. The default is %(default)s, each frame."
    add("--every", type=whole(1), default=1, metavar="N", help=about)
    add("--recursive", action="store_true", help="Look into the folders of a folder, too.")


def run(options: argparse.Namespace) -> int:
    """Find the people in one source or in many; returns the exit status."""
    with lean_imports():
        import edgepose.media.sinks
        import edgepose.watch  # noqa: F401 (both to be loaded leanly)
        from edgepose.media.listing import list_inputs
        from edgepose.media.window import check_screen

    if options.show:
        check_screen()
    folders = [Path(path) for path in (options.save, options.json) if path is not None]
    listing = list_inputs(options.sources, recursive=options.recursive, without=folders)
    if len(options.sources) == 1:
        if not listing.inputs and listing.missing:
            source, reason = listing.missing[0]
            raise SourceError(f"{source}: {reason}")
        only_pictures = all(each.is_picture for each in listing.inputs)
        if not listing.is_collection or (only_pictures and not options.recursive):
            return _run_one(options, listing)
    return _run_many(options, listing)


def _run_one(options: argparse.Namespace, listing: Listing) -> int:
    """One video, picture, camera or stream, or the pictures of one folder, which are a source of their own."""
    from edgepose.media.sinks import open_sinks
    from edgepose.media.sources import open_source
    from edgepose.media.window import Window
    from edgepose.watch import watch

    with ExitStack() as stack:
        source = stack.enter_context(
            open_source(
                options.sources[0],
                max_frames=options.max_frames,
                start=options.start,
                end=options.end,
                every=options.every,
                camera=make_camera(options),
            )
        )
        sinks = stack.enter_context(
            open_sinks(
                source,
                save=options.save,
                poses=options.json,
                format=options.format,
                spared=spared_models(options),
                codec=options.codec,
                crf=options.crf,
                audio=options.audio,
            )
        )
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
                progress=lambda frames: progress_bar(frames, source.total, "frames"),
            )
        except EdgePoseError as error:
            if sinks.written and (options.save or options.json):
                add_what_is_kept(error, sinks.written)
            raise
    report_run(source, watched, listing.passed_over)
    return 1 if source.skipped else 0


def _run_many(options: argparse.Namespace, listing: Listing) -> int:
    """Many files, one after the other; one that cannot be read costs the others nothing."""
    from edgepose.many import Outputs, Reading, VideoOptions, watch_many
    from edgepose.media.window import Window

    if not listing.inputs:
        raise SourceError("; ".join(f"{source}: {reason}" for source, reason in listing.missing))
    with ExitStack() as stack:
        outputs = Outputs(
            listing.inputs,
            save=options.save,
            poses=options.json,
            format=options.format,
            spared=spared_models(options),
            video=VideoOptions(options.codec, options.crf, options.audio),
        )
        stack.enter_context(outputs)
        estimator = make_estimator(options)
        window = stack.enter_context(Window("edgepose")) if options.show else None
        bar = stack.enter_context(progress_bar(None, len(listing.inputs), "files"))
        counts = watch_many(
            estimator,
            listing.inputs,
            outputs,
            reading=Reading(options.max_frames, make_camera(options), options.start, options.end, options.every),
            window=window,
            figures=options.figures,
            track=options.track,
            smooth=options.smooth,
            progress=bar.update,
        )
    skipped = [*listing.missing, *counts.skipped]
    report_many(counts, skipped, listing.passed_over)
    return 1 if skipped else 0
