"""Tracking: the cost of a frame, the identities that are kept, and the effect of smoothing on noise and lag.

    python benchmarks/tracking.py --people 20 --clips 6 --json tracking.json

People of known identity walk to and fro and cross; a keypoint is missing now and then, a whole person now and then, and
whoever is hidden by somebody nearer. All of it is drawn from a seed. Prints Markdown tables.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from synthetic.walkers import judge, track, walk

import edgepose
from edgepose import tracking
from edgepose.tracking import Tracker


@contextmanager
def constants(**values: Any) -> Iterator[None]:
    """Other constants in `edgepose.tracking` for a while; not those of the kernels, which are compiled in."""
    usual = {name: getattr(tracking, name) for name in values}
    for name, value in values.items():
        setattr(tracking, name, value)
    try:
        yield
    finally:
        for name, value in usual.items():
            setattr(tracking, name, value)


def identity_table(clips: int) -> list[dict[str, Any]]:
    """The tracker as it is and with one thing changed, on walkers and runners at several frame rates."""
    variants: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "as it is": ({}, {}),
        "first try only": ({"SLACKS_PER_S": tracking.SLACKS_PER_S[:1]}, {}),
        "second try only": ({"SLACKS_PER_S": tracking.SLACKS_PER_S[1:]}, {}),
        "COCO's tolerance": ({"SLACKS_PER_S": (0.0,)}, {}),
        "COCO's tolerance first": ({"SLACKS_PER_S": (0.0, *tracking.SLACKS_PER_S[1:])}, {}),
        "min_oks 0.3": ({}, {"min_oks": 0.3}),
        "max_gap_s 2": ({}, {"max_gap_s": 2.0}),
    }
    rows = []
    for fps, speed, replaced in ((5, 1.0, 0), (10, 1.0, 0), (10, 2.5, 0), (30, 1.0, 0), (30, 2.5, 0), (30, 1.0, 2)):
        scenes = [walk(fps=fps, speed=speed, replaced=replaced, seed=seed) for seed in range(clips)]
        for name, (values, knobs) in variants.items():
            with constants(**values):
                figures = [judge(clip, track(Tracker(**knobs), clip)) for clip in scenes]
            row: dict[str, Any] = {"fps": fps, "speed": speed, "replaced": replaced, "tracker": name}
            row |= {field: float(np.mean([getattr(f, field) for f in figures])) for field in ("idf1", "best")}
            row |= {field: sum(getattr(f, field) for f in figures) for field in ("clear_switches", "switches")}
            rows.append(row)
    return rows


def smoothing_table(clips: int) -> list[dict[str, Any]]:
    """Root mean square of keypoints' error and of its change between frames, in thousandths of a person's height."""
    filters: dict[str, dict[str, Any]] = {"none": {"smooth": False}, "as it is": {}}
    filters |= {f"beta {beta}": {"beta": beta} for beta in (2.0, 4.0, 16.0)}
    filters |= {f"min_cutoff_hz {hertz}": {"min_cutoff_hz": hertz} for hertz in (0.5, 2.0)}
    rows = []
    for speed, people in ((0.0, "standing"), (1.0, "walking"), (2.5, "running")):
        scenes = [walk(speed=speed, seed=seed) for seed in range(clips)]
        for name, knobs in filters.items():
            errors, changes = [], []
            for clip in scenes:
                tracker = Tracker(**{"smooth": True, **knobs})
                before = np.full_like(clip[0].truth, np.nan)
                for frame in clip:
                    error = np.full_like(before, np.nan)
                    error[frame.people] = tracker.update(frame.poses, frame.timestamp).keypoints - frame.truth[frame.people]
                    error *= 1000 / np.ptp(frame.truth[..., 1], axis=1)[:, None, None]
                    errors.append(error)
                    changes.append(error - before)
                    before = error
            error_rms, jitter_rms = (float(np.sqrt(2 * np.nanmean(np.square(values)))) for values in (errors, changes))
            rows.append({"people": people, "filter": name, "error": error_rms, "jitter": jitter_rms})
    return rows


def cost_table(people: int) -> list[dict[str, Any]]:
    """Milliseconds a frame, of tracking alone and with smoothing."""
    clip = walk(people, seconds=20, missed=0, gap_s=0, hiding=False)
    rows = []
    for smooth in (False, True):
        tracker = Tracker(smooth=smooth)
        times_ms = []
        for frame in clip:
            start = time.perf_counter()
            tracker.update(frame.poses, frame.timestamp)
            times_ms.append((time.perf_counter() - start) * 1e3)
        p50_ms, p90_ms = np.percentile(times_ms, [50, 90]).tolist()
        rows.append({"people": people, "smooth": smooth, "p50_ms": p50_ms, "p90_ms": p90_ms})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=20, help="in the clip that is timed (default: %(default)s)")
    parser.add_argument("--clips", type=int, default=6, help="of every kind that is judged (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write the figures here")
    arguments = parser.parse_args()

    machine = f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}, NumPy {np.__version__}"
    print(f"{machine}, edgepose {edgepose.__version__}")
    report: dict[str, Any] = {"machine": machine}
    tables: dict[str, list[dict[str, Any]]] = {
        "cost": cost_table(arguments.people),
        "identities": identity_table(arguments.clips),
        "smoothing": smoothing_table(arguments.clips),
    }
    for name, rows in tables.items():
        print(f"\n{name}\n")
        print("| " + " | ".join(rows[0]) + " |")
        print("|---" * len(rows[0]) + "|")
        for row in rows:
            print("| " + " | ".join(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values()) + " |")
    if arguments.json:
        arguments.json.write_text(json.dumps(report | tables, indent=1) + "\n")


if __name__ == "__main__":
    main()
