"""Milliseconds to read a frame of a video, to BGR: edgepose (PyAV) against OpenCV's capture, with as many threads.

    python benchmarks/reading.py [VIDEO] [--turns N] [--json PATH]

Without a video, one of 720p is made: 300 frames of H.264. Both read in turns within one run; figures are medians, of wall
time and of processor time.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import av
import cv2
import numpy as np

from edgepose.doctor import processor
from edgepose.media.containers import DECODING_THREADS
from edgepose.media.sources import open_source


def with_opencv(path: Path) -> int:
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, DECODING_THREADS])
    count = 0
    while capture.read()[0]:
        count += 1
    capture.release()
    return count


def with_edgepose(path: Path) -> int:
    with open_source(path, read_ahead=False) as source:
        return sum(1 for _ in source)


def make_video(path: Path) -> Path:
    """A camera's slow pan over something with as much detail as a photo."""
    generator = np.random.default_rng(0)
    layers = [generator.integers(0, 256, (1440 // size, 2560 // size, 3), np.uint8) for size in (4, 16, 64)]
    scene = np.mean([cv2.resize(layer, (2560, 1440), interpolation=cv2.INTER_CUBIC) for layer in layers], axis=0)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=30, options={"crf": "23", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        for index in range(300):
            x, y = 2 * index, index
            picture = np.ascontiguousarray(scene[y : y + 720, x : x + 1280], np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        file.mux(stream.encode())
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", nargs="?", type=Path)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    ways: dict[str, Callable[[Path], int]] = {"OpenCV": with_opencv, "edgepose": with_edgepose}
    wall: dict[str, list[float]] = {name: [] for name in ways}
    processor_time: dict[str, list[float]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as folder:
        video = arguments.video or make_video(Path(folder) / "pan.mp4")
        for turn in range(arguments.turns + 1):
            for name, read in ways.items():
                started, spent = time.perf_counter(), time.process_time()
                count = read(video)
                if turn:  # The first one warms the file's cache.
                    processor_time[name].append(1000 * (time.process_time() - spent) / count)
                    wall[name].append(1000 * (time.perf_counter() - started) / count)
    print(f"{processor()}, {DECODING_THREADS} decoding threads, medians of {arguments.turns} turns of {count} frames\n")
    print("| reader | processor, ms a frame | wall, ms a frame |\n|---|---|---|")
    for name in ways:
        print(f"| {name} | {median(processor_time[name]):.2f} | {median(wall[name]):.2f} |")
    ratios = [theirs / ours for theirs, ours in zip(processor_time["OpenCV"], processor_time["edgepose"], strict=True)]
    print(f"\nedgepose reads {median(ratios):.2f} times as many frames in a second of processor time (median of pairs)")
    if arguments.json:
        figures = {"processor_ms": processor_time, "wall_ms": wall, "machine": processor(), "threads": DECODING_THREADS}
        arguments.json.write_text(json.dumps(figures))


if __name__ == "__main__":
    main()
