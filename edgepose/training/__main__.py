"""The command `python -m edgepose.training`: it checks all inputs before it trains."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

import torch

from edgepose.engines.torch import checked_device
from edgepose.errors import EdgePoseError, InputError, OutputError
from edgepose.media.outputs import check_file, check_folder
from edgepose.training.annotations import read_annotations
from edgepose.training.curves import LOG, PLOT
from edgepose.training.dataset import check_images, split
from edgepose.training.images import ImageCache, ImageStore
from edgepose.training.loop import BEST, LAST, Recipe, train
from edgepose.training.state import CHECKPOINT
from edgepose.training.teacher import Teacher
from edgepose.zoo.local import model_files


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0 done, 1 the work failed, 2 wrong usage."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        _run(options)
    except EdgePoseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _run(options: argparse.Namespace) -> None:
    recipe = Recipe(
        width=options.width,
        refinement_stages=options.refinement_stages,
        batch_size=options.batch_size,
        crop=options.crop,
        learning_rate=options.learning_rate,
        minutes=options.minutes,
        steps=options.steps,
        validate_every=options.validate_every,
        seed=options.seed,
        shares=dict(options.share),
        fold_norms=options.fold_norms,
    )
    if options.fold_norms and options.init is None and not options.resume:
        raise InputError("--fold-norms keeps batch norms as they are, which needs trained weights; give them with --init")
    found = "cuda" if torch.cuda.is_available() else "cpu"
    device = checked_device(found if options.device == "auto" else options.device)
    output: Path = options.output
    if (output / CHECKPOINT).exists() and not options.resume:
        raise OutputError(f"{output} holds a run already; add --resume to go on with it, or choose another --output")
    check_folder(output)
    given = [options.annotations, *model_files(options.teacher)]
    if options.init is not None and not options.resume:
        given.append(options.init)
    for name in (CHECKPOINT, BEST, LAST, LOG, PLOT):
        check_file(output / name, given, "what is read here")
    teacher = None if options.teacher is None else Teacher(options.teacher)
    photos = read_annotations(options.annotations)
    check_file(output / PLOT, [options.images / photo.file_name for photo in photos])
    store = ImageStore(options.images)
    cache = ImageCache(store, max_side=options.max_side, max_bytes=int(options.cache_gb * 2**30))
    check_images(photos, store, cache, options.workers)
    photos, held_out = split(photos, options.held_out)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{output} cannot be made a folder ({error.strerror}); choose another --output") from error
    progress = train(
        recipe, photos, held_out, cache, output,
        device=device, init=options.init, teacher=teacher, resume=options.resume, workers=options.workers,
        should_stop=_on_signals(),
    )  # fmt: skip
    logging.getLogger(__name__).info(
        "%d steps, %.1f minutes; best held-out AP %.1f at step %d: %s",
        progress.step, progress.seconds / 60, progress.best_ap, progress.best_step, output / BEST,
    )  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    cores = os.cpu_count() or 1
    parser = argparse.ArgumentParser("python -m edgepose.training", description="Train Lightweight OpenPose.")
    add = parser.add_argument
    add("--annotations", required=True, type=Path, help="COCO-format keypoint file")
    add("--images", required=True, type=Path, help="folder of images or of .tar files, or a .tar file")
    add("--output", required=True, type=Path, help="folder of the run")
    add("--resume", action="store_true", help="go on with the run in --output; all options but the network's shape may change")
    add("--init", type=Path, help="weights to start from: of the whole network, or of the backbone alone")
    add("--teacher", metavar="MODEL", help="learn from the maps of this model, too: a name, or a model file")
    add("--fold-norms", action="store_true",
        help="keep batch norms as they are, and the first blocks: for trained weights, on a processor")  # fmt: skip
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    add("--width", type=float, default=Recipe.width, help="factor on the network's channels (default: %(default)s)")
    add("--refinement-stages", type=int, default=Recipe.refinement_stages, help="stages after the first (default: %(default)s)")
    add("--minutes", type=float, help="train for so long, resumptions included; the learning rate ends there")
    add("--steps", type=int, help="train for so many steps, resumptions included; the learning rate ends there")
    add("--batch-size", type=int, default=Recipe.batch_size, help="crops in a step (default: %(default)s)")
    add("--crop", type=int, default=Recipe.crop, help="side of the crops, pixels, a multiple of 8 (default: %(default)s)")
    add("--learning-rate", type=float, default=Recipe.learning_rate, help="its peak (default: %(default)s)")
    add("--share", type=_share, action="append", default=[], metavar="SOURCE=WEIGHT",
        help="draw photos of this source (images[].source) WEIGHT times as often as others")  # fmt: skip
    add("--held-out", type=int, default=100, help="photos kept back to measure AP during training (default: %(default)s)")
    add("--validate-every", type=int, default=Recipe.validate_every, help="steps between validations (default: %(default)s)")
    add("--max-side", type=int, default=512, help="reduce larger images to this side, in pixels (default: %(default)s)")
    add("--cache-gb", type=float, default=4.0, help="memory for decoded images, in GiB (default: %(default)s)")
    add("--workers", type=int, default=max(1, cores // 2), help="threads that make batches (default: %(default)s)")
    add("--seed", type=int, default=Recipe.seed, help="seed of everything random (default: %(default)s)")
    return parser


def _share(text: str) -> tuple[str, float]:
    source, _, weight = text.rpartition("=")
    try:
        return source, float(weight)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} given; expected SOURCE=WEIGHT, such as studio=0.5") from None


def _on_signals() -> Callable[[], bool]:
    """A function that says whether SIGINT, SIGTERM or SIGHUP came. After the first, the next SIGINT or SIGTERM acts as usual.

    SIGHUP, which comes when the terminal is closed, often comes twice.
    """
    seen: list[int] = []
    closed = getattr(signal, "SIGHUP", None)  # Windows has none.

    def note(number: int, _: FrameType | None) -> None:
        seen.append(number)
        if number != closed:
            signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, note)
    if closed is not None and signal.getsignal(closed) is signal.SIG_DFL:  # nohup ignores it.
        signal.signal(closed, note)
    return lambda: bool(seen)


if __name__ == "__main__":
    sys.exit(main())
