"""Tables and reports that the commands print, and figures that they write as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from edgepose.errors import EdgePoseError

if TYPE_CHECKING:
    from edgepose.benchmark import Benchmark
    from edgepose.evaluation import Evaluation
    from edgepose.many import Counts
    from edgepose.media.sources import Source
    from edgepose.watch import Watched

MAX_SKIPPED = 20  # Lines about what was skipped.


def count(number: int, one: str, many: str | None = None) -> str:
    """A number with its noun: "1 frame", "2 frames"."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table whose columns are as wide as their widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def report_run(source: Source, watched: Watched, passed_over: Sequence[str] = ()) -> None:
    """Print on standard error how many frames and people there were, what was skipped, and what was no picture or video."""
    dropped = f", {watched.dropped} dropped" if watched.dropped else ""
    _report(source.name, f"{count(watched.frames, 'frame')}{dropped}", watched.people, watched.fps)
    _report_skipped(source.skipped, passed_over)


def report_many(counts: Counts, skipped: Sequence[tuple[str, str]], passed_over: Sequence[str]) -> None:
    """`report_run` for a run over many files."""
    _report(count(counts.files, "file"), count(counts.frames, "frame"), counts.people, counts.fps)
    _report_skipped(skipped, passed_over)


def _report(name: str, frames: str, people: int, fps: float | None) -> None:
    rate = "" if fps is None else f", {fps:.1f} a second"
    print(f"{name}: {frames}, {count(people, 'person', 'people')} found{rate}", file=sys.stderr)


def _report_skipped(skipped: Sequence[tuple[str, str]], passed_over: Sequence[str]) -> None:
    for name, reason in skipped[:MAX_SKIPPED]:
        print(f"edgepose: skipped {name}: {reason}", file=sys.stderr)
    if len(skipped) > MAX_SKIPPED:
        print(f"edgepose: skipped {len(skipped) - MAX_SKIPPED} more", file=sys.stderr)
    if passed_over:
        names = ", ".join(passed_over[:MAX_SKIPPED])
        more = f", and {len(passed_over) - MAX_SKIPPED} more" if len(passed_over) > MAX_SKIPPED else ""
        what = count(len(passed_over), "file that is", "files that are")
        print(f"edgepose: passed over {what} neither pictures nor videos: {names}{more}", file=sys.stderr)


def progress_bar(items: Any, total: int | None, unit: str) -> Any:
    """A bar on standard error that shows how far `items` are; nothing where that is no terminal."""
    from tqdm import tqdm

    return tqdm(items, total=total, unit=f" {unit}", disable=None, leave=False)  # None: silent if stderr is no terminal


def print_models() -> None:
    """Print the models to choose from, then all models."""
    from edgepose.zoo import download, registry

    rows = [("NAME", "MODEL", "INPUT", "AP", "MS", "FOR")]
    for alias in registry.aliases():
        height, width = registry.get(alias.name).size
        rows.append(
            (alias.name, alias.model, f"{width}x{height}", _or_dash(alias.ap), _or_dash(alias.ms), alias.purpose or "-")
        )
    print(*aligned(rows), sep="\n")
    print(
        "INPUT is width x height in pixels. AP is in percent, on 130 photos of COCO val2017. MS is the time of a frame with one"
    )
    print("person in milliseconds, on two cores with VNNI.\n")
    rows = [("NAME", "TASK", "LICENCE", "AP", "GFLOPS", "STATE")]
    for name in registry.names():
        model = registry.get(name)
        state = "here" if download.find(model) else "needs conversion" if model.conversion else "to download"
        rows.append((name, model.task, model.licence or "-", _or_dash(model.ap), _or_dash(model.gflops), state))
    print(*aligned(rows), sep="\n")
    print("AP is in percent, each by its own protocol; see `edgepose models info NAME`.")


def print_evaluation(evaluation: Evaluation, protocol: dict[str, Any], annotations: Path, file: TextIO | None) -> None:
    """Print the accuracy of a model, and in a line how it was measured."""
    for name, value in evaluation.figures.items():
        print(f"{name:5} {value:5.1f}", file=file)
    parts = [
        protocol["model"],
        f"input height {protocol['input_size']}",
        f"keypoints from score {protocol['min_score']:g}",
        f"people from confidence {protocol['min_confidence']:g}",
        f"{count(evaluation.images, 'image')} of {annotations}",
        *(["boxes of the annotations"] if protocol["boxes"] == "annotations" else []),
        "single scale",
        "flip test" if protocol["flip_test"] else "no flip test",
    ]
    print(f"{', '.join(parts)}; percent, pycocotools", file=file)


def benchmark_table(benchmarks: Sequence[Benchmark]) -> str:
    """The figures of one or more models side by side, and the machine."""
    rows = [["", *(b.model for b in benchmarks)]]
    rows.append(["end to end, FPS", *(f"{b.end_to_end_fps:.1f}" for b in benchmarks)])
    rows.append(["bare network, FPS", *(f"{b.network_fps:.1f}" for b in benchmarks)])
    rows.append(["ratio", *(f"{b.ratio:.3f}" for b in benchmarks)])
    rows.append(["peak memory, MB", *("-" if b.peak_memory_mb is None else f"{b.peak_memory_mb:.0f}" for b in benchmarks)])
    stages = dict.fromkeys(stage for b in benchmarks for stage in b.stages)
    rows += [[f"{stage}, ms", *(_stage(b, stage) for b in benchmarks)] for stage in stages]
    if any(b.detections for b in benchmarks):
        rows.append(
            ["detector ran", *("in {} of {} frames".format(*b.detections) if b.detections else "-" for b in benchmarks)]
        )
    devices = dict.fromkeys(b.machine["device"] for b in benchmarks)
    facts = {name: value for name, value in benchmarks[0].machine.items() if name != "device"}
    machine = [value if name in ("processor", "system") else f"{name} {value}" for name, value in facts.items()]
    return "\n".join([*aligned(rows), "stages: p50 / p90 / p99 of one frame at a time", *devices, ", ".join(machine)])


def _stage(figures: Benchmark, stage: str) -> str:
    """The quantiles of a stage, or a dash where the model has none, or it never ran."""
    return " / ".join(f"{value:.2f}" for value in figures.quantiles(stage)) if len(figures.stages.get(stage, ())) else "-"


def check_figures(path: str, files: Iterable[Path], models: Iterable[Path]) -> None:
    """Make sure that figures can be written to `path`, which is "-" or none of `files` and `models`.

    Raises:
        OutputError: They cannot.
    """
    from edgepose.media.files import STDOUT
    from edgepose.media.outputs import check_file, check_no_picture

    if path != STDOUT:
        check_no_picture(Path(path), "figures go to a .json")
        check_file(Path(path), files)
        check_file(Path(path), models, "a file of the model")


def write_figures(path: str | None, figures: dict[str, Any]) -> TextIO | None:
    """Write `figures` as JSON to `path`, "-" for standard output, if it is given; returns where to print a table then.

    Raises:
        OutputError: The file cannot be written.
    """
    from edgepose.media.files import STDOUT, JsonList, write_file

    if path != STDOUT:
        if path:
            write_file(Path(path), json.dumps(figures, indent=2).encode() + b"\n")
        return None
    lines = JsonList(STDOUT, lines=True)
    lines.append(figures)
    lines.close()
    return sys.stderr  # Nothing but JSON on standard output.


def add_what_is_kept(error: EdgePoseError, frames: int) -> None:
    """Add to the message of an error that ends a run how many frames were written before."""
    error.args = (f"{error}; what was found in {count(frames, 'frame')} before is kept",)


def _or_dash(number: float | None) -> str:
    return "-" if number is None else f"{number:g}"
