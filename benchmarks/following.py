"""The rates, latency and accuracy of following, against looking anew in every frame and against mediapipe.

    python benchmarks/following.py [--shared DIR] [--people 1 3 5 10] [--mediapipe PYTHON] [--only PARTS ...] [--json PATH]

Clips are made of annotated photos (tests/synthetic/clips.py), panned and zoomed, with their annotations moved along; those
whose rate is measured, of scikit-image's portrait of an astronaut side by side. All frames are in memory: no video is decoded.

- rates: frames a second of `accurate` following, with `detect_every=1`, and of its bare network for as many people, in turns;
  the latency of a frame while the detector runs beside it; and of mediapipe 0.10.21 (`pose_landmark_full`, video mode), which
  PYTHON runs, the interpreter of an environment of its own with numpy < 2. Skipped with a reason where that is not installed.
- windows: the same of `default` with and without `follow`, for one person of a third of the height.
- accuracy: AP and switches of identity with following and with `detect_every=1` on the same frames, and by how many frames
  later those who come into the picture are seen, and a new scene after a hard cut.

What was measured is kept in the JSON, and not measured again by the next run with the same file.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from choices import frame_of
from synthetic.clips import Clip, content, joined, pan, read_photos, switches

import edgepose
from edgepose.doctor import processor
from edgepose.evaluation import run_cocoeval
from edgepose.media.sources import Frame, Source

Image = NDArray[np.uint8]

FPS = 30.0
TURN = 45  # frames: three detections
MAX_TURNS = 4
ACCURACY_SIZE = (360, 640)

MEDIAPIPE = """
import sys, time, json
import numpy as np
import mediapipe
frames = np.load(sys.argv[1])
with mediapipe.solutions.pose.Pose(static_image_mode=False, model_complexity=1) as pose:
    found = [pose.process(frame[..., ::-1].copy()).pose_landmarks is not None for frame in frames[:15]]
    started = time.perf_counter()
    found = [pose.process(frame[..., ::-1].copy()).pose_landmarks is not None for frame in frames]
    seconds = time.perf_counter() - started
print(json.dumps({"fps": len(frames) / seconds, "found": sum(found) / len(found), "version": mediapipe.__version__}))
"""


def moving(people: int, frames: int = TURN) -> list[Image]:
    """720p frames of so many astronauts, who sway by a few pixels a frame."""
    still = frame_of(people)
    return [np.roll(still, round(40 * np.sin(2 * np.pi * index / TURN)), axis=1) for index in range(frames)]


def source(images: Sequence[Image], repeats: int = 1) -> Source:
    """A video of these frames, which is begun again."""
    frames = (Frame(image, n, n / FPS, "clip") for n, image in enumerate(list(images) * repeats))
    return Source("clip", "video", frames, fps=FPS)


@dataclass
class Runner:
    """A stream without an end, of which some frames are taken in each turn."""

    estimator: edgepose.PoseEstimator
    images: list[Image]

    def __post_init__(self) -> None:
        self.frames = self.estimator.stream(source(self.images, 1000), track=True)
        self.people = 0

    def run(self, count: int = TURN) -> list[float]:
        """Seconds of each of the next frames."""
        times = []
        for _ in range(count):
            started = time.perf_counter()
            self.people = len(next(self.frames).poses)
            times.append(time.perf_counter() - started)
        return times


def bare(estimator: edgepose.PoseEstimator, people: int, count: int) -> float:
    """Seconds of the network alone for so many frames with so many people."""
    pipeline: Any = estimator.pipeline
    crop = np.random.default_rng(0).integers(0, 256, (1, *pipeline.crop_size, 3), np.uint8)
    started = time.perf_counter()
    pending: list[Any] = []
    for _ in range(people * count):
        pending.append(estimator.engine.submit(crop))
        if len(pending) > 1:
            pending.pop(0).result()
    for run in pending:
        run.result()
    return time.perf_counter() - started


def rates(people: int, python: str | None, folder: Path) -> dict[str, Any]:
    """Frames a second with so many people, and the latency."""
    images = moving(people)
    follows = Runner(edgepose.PoseEstimator("accurate"), images)
    anew = Runner(edgepose.PoseEstimator("accurate", detect_every=1), images)
    for runner in (follows, anew):
        runner.run(10)  # Compiles, and fills the caches.
    bare(follows.estimator, 1, 10)
    turns = max(2, min(MAX_TURNS, 8 // people))
    times: list[float] = []
    ratios: dict[str, list[float]] = {"following": [], "anew": [], "network": [], "mediapipe": []}
    reason = ""
    for _ in range(turns):
        taken = follows.run(TURN)
        times += taken
        ratios["following"].append(len(taken) / sum(taken))
        count = max(5, 15 // people)
        taken = anew.run(count)
        ratios["anew"].append(len(taken) / sum(taken))
        ratios["network"].append(count / bare(follows.estimator, follows.people, count))
        if people == 1 and not reason:
            answer = mediapipe(python, images, folder)
            reason = answer.get("skipped", "")
            ratios["mediapipe"] += [answer["fps"]] if "fps" in answer else []
    figures = {name: median(values) for name, values in ratios.items() if values}
    p50, p99 = np.quantile(times, (0.5, 0.99))
    row: dict[str, Any] = {"people": people, "found": follows.people} | {f"{name}_fps": rate for name, rate in figures.items()}
    row |= {f"x_{name}": paired(ratios["following"], ratios[name]) for name in ("anew", "network", "mediapipe") if ratios[name]}
    row |= {"p50_ms": 1000 * p50, "p99_ms": 1000 * p99, "p99_by_p50": p99 / p50}
    return row | ({"mediapipe_skipped": reason} if reason else {})


def paired(some: list[float], others: list[float]) -> float:
    """The median of the ratios of each turn."""
    return median(a / b for a, b in zip(some, others, strict=False))


def mediapipe(python: str | None, images: list[Image], folder: Path) -> dict[str, Any]:
    """Frames a second of mediapipe over the same frames, or the reason why there is none."""
    if python is None:
        return {"skipped": "no --mediapipe given"}
    if not Path(python).exists():
        return {"skipped": f"there is no {python}"}
    path = folder / "frames.npy"
    if not path.exists():
        np.save(path, np.stack(images))
    done = subprocess.run([python, "-c", MEDIAPIPE, str(path)], capture_output=True, text=True, check=False)
    if done.returncode:
        return {"skipped": (done.stderr.strip().splitlines() or ["it failed"])[-1]}
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def windows() -> dict[str, Any]:
    """Frames a second of the bottom-up default, of one person of a third of the height, following and not."""
    still = np.full((720, 1280, 3), 114, np.uint8)
    still[400:656, 500:756] = frame_of(5)[464:, :256]  # One of five astronauts.
    images = [np.roll(still, round(40 * np.sin(2 * np.pi * n / TURN)), axis=1) for n in range(TURN)]
    follows, whole = (Runner(edgepose.PoseEstimator("default", follow=follow), images) for follow in (True, False))
    for runner in (follows, whole):
        runner.run(60)  # Compiles the windows, too, in the background.
    some, others = [], []
    for _ in range(MAX_TURNS):
        some.append(TURN / sum(follows.run()))
        others.append(TURN / sum(whole.run()))
    return {"follow_fps": median(some), "whole_fps": median(others), "x_whole": paired(some, others)}


def clips(shared: Path, frames: int) -> dict[str, Clip]:
    """Clips of one person, of some, and of crowds; and all of them one after the other, with hard cuts."""
    random = np.random.default_rng(0)
    kinds = {"one": ((1, 1), 0.05), "some": ((2, 5), 0.01), "crowd": ((8, 30), 0.0)}
    made, first = {}, 0
    for name, (people, least) in kinds.items():
        photos = read_photos(shared, people, least)
        parts = []
        for place in random.permutation(len(photos))[:2]:
            parts.append(pan(photos[place], frames, size=ACCURACY_SIZE, travel=1.2, first=first, random=random))
            first += len(photos[place].keypoints)
        made[name] = joined(parts)
    return made


def judge(clip: Clip, **options: Any) -> dict[str, float]:
    """AP, switches, and frames until people are seen, of an estimator over a clip."""
    estimator = edgepose.PoseEstimator(min_score=0.05, **options)
    found = [frame.poses for frame in estimator.stream(source(clip.images), track=True)]
    results = [result for number, poses in enumerate(found) for result in poses.to_coco(number)]
    evaluation = run_cocoeval(content(clip), results, list(range(len(found)))) if results else None
    return {
        "AP": 0.0 if evaluation is None else 100 * float(evaluation.stats[0]),
        "people": sum(map(len, found)) / len(found),
        **switches(clip, found),
    }


def accuracy(shared: Path, frames: int) -> Iterator[dict[str, Any]]:
    """A row for each kind of clip and way."""
    ways: dict[str, dict[str, Any]] = {
        "accurate, following": {"model": "accurate"},
        "accurate, detect_every=1": {"model": "accurate", "detect_every": 1},
        "default, follow": {"model": "default", "follow": True},
        "default": {"model": "default"},
    }
    for kind, clip in clips(shared, frames).items():
        for way, options in ways.items():
            yield {"clip": kind, "frames": len(clip.images), "way": way, **judge(clip, **options)}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as a Markdown table; a dash where one lacks a figure."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [" | ".join(names), "|".join("---" for _ in names)]
    for row in rows:
        cells = (row.get(name, "-") for name in names)
        lines.append(" | ".join(f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in cells))
    return "\n".join(f"| {line} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = Path(os.environ.get("EDGEPOSE_SHARED") or Path(__file__).resolve().parents[2] / "shared")
    parser.add_argument(
        "--shared", type=Path, default=shared, metavar="DIR", help="folder with the photos (default: %(default)s)"
    )
    parser.add_argument("--people", type=int, nargs="+", default=[1, 3, 5, 10])
    parser.add_argument("--frames", type=int, default=40, help="of each photo, for the accuracy (default: %(default)s)")
    parser.add_argument("--mediapipe", metavar="PYTHON", help="an interpreter that has mediapipe")
    parser.add_argument("--only", nargs="+", choices=("rates", "windows", "accuracy"), default=["rates", "windows", "accuracy"])
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the figures, and take those that are there already")
    options = parser.parse_args()

    report: dict[str, Any] = {"machine": f"{processor()}, {os.cpu_count()} cores"}
    if options.json and options.json.exists():
        report = json.loads(options.json.read_text())
    print(report["machine"], flush=True)

    def keep(name: str, make: Callable[[], Any]) -> Any:
        if name not in report:
            report[name] = make()
            if options.json:
                options.json.write_text(json.dumps(report, indent=2) + "\n")
        return report[name]

    with tempfile.TemporaryDirectory() as folder:
        if "rates" in options.only:
            measure = partial(rates, python=options.mediapipe, folder=Path(folder))
            rows = [keep(f"rates {people}", partial(measure, people)) for people in options.people]
            print(
                f"\nrates, 720p, frames in memory, medians of turns; x: following by it, by turns\n\n{table(rows)}", flush=True
            )
        if "windows" in options.only:
            print(f"\nbottom-up, one person of a third of the height\n\n{table([keep('windows', windows)])}", flush=True)
        if "accuracy" in options.only:
            rows = keep("accuracy", lambda: list(accuracy(options.shared, options.frames)))
            print(f"\naccuracy, clips of two photos each\n\n{table(rows)}", flush=True)
    if hasattr(os, "getloadavg"):
        print(f"\nload of the machine in the last minute: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
