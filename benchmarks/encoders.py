"""Encoders of video: milliseconds a frame, size and likeness (PSNR) of a 720p video with drawn figures.

    python benchmarks/encoders.py VIDEO [--frames 150] [--json PATH]

MPEG-4 by OpenCV, at the bit rate that OpenCV chooses, takes turns with every encoder of `edgepose.media.encoders`; of x264 with
some of its presets. Times are processor time with the conversion of colours, the least of three turns.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from edgepose.doctor import processor
from edgepose.media.encoders import ENCODERS, Encoder, has_encoder
from edgepose.media.recording import Recording
from edgepose.media.sources import open_source

Images = list[NDArray[np.uint8]]
PRESETS = ("ultrafast", "superfast", "veryfast")
UNIT = Fraction(1, 60_000)
TURNS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--frames", type=int, default=150)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with open_source(options.video, max_frames=options.frames, read_ahead=False) as source:
        images = [figures(frame.image, index) for index, frame in enumerate(source)]
    rows: list[dict[str, Any]] = []
    for name, write in ways().items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "o.mp4"
            times = []
            for _ in range(TURNS):
                started = time.process_time()
                write(images, path)
                times.append((time.process_time() - started) / len(images) * 1000)
            rows.append({"encoder": name, "ms": min(times), "kb": path.stat().st_size / 1000, "psnr_db": psnr(images, path)})
        print("{encoder:28s} {ms:6.1f} ms {kb:8.0f} kB {psnr_db:6.2f} dB".format(**rows[-1]), flush=True)
    print(f"{len(images)} frames of {images[0].shape[1]} x {images[0].shape[0]}; {processor()}")
    if options.json is not None:
        options.json.write_text(json.dumps({"processor": processor(), "frames": len(images), "encoders": rows}, indent=2))


def ways() -> dict[str, Callable[[Images, Path], None]]:
    """The ways to write a video, by name."""
    found: dict[str, Callable[[Images, Path], None]] = {"MPEG-4 by OpenCV": by_opencv}
    for encoder in ENCODERS:
        if has_encoder(encoder.name):
            presets = PRESETS if encoder.name == "libx264" else (encoder.options.get("preset"),)
            for preset in presets:
                changed = encoder if preset is None else encoder._replace(options={**encoder.options, "preset": preset})
                found[f"{encoder.name} {preset or ''}"] = recorder(changed)
    return found


def by_opencv(images: Images, path: Path) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, images[0].shape[1::-1])
    for image in images:
        writer.write(image)
    writer.release()


def recorder(encoder: Encoder) -> Callable[[Images, Path], None]:
    def write(images: Images, path: Path) -> None:
        height, width = images[0].shape[:2]
        square, rate = Fraction(1), Fraction(25)
        recording = Recording(path, ".mp4", encoder, (height, width), rate=rate, unit=UNIT, aspect=square, crf=None)
        for index, image in enumerate(images):
            recording.write(image, index * 2400, 1 / 25)
        recording.close()

    return write


def figures(image: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
    """`image` with thin coloured lines drawn onto it, such as limbs are."""
    random = np.random.default_rng(0)
    for person in range(3):
        points = random.integers(0, 200, (18, 2)) + np.array((100 + 350 * person + 3 * index % 200, 200))
        for start, end in itertools.pairwise(points):
            colour = tuple(int(value) for value in random.integers(0, 256, 3))
            cv2.line(image, tuple(map(int, start)), tuple(map(int, end)), colour, 3, cv2.LINE_AA)
    return image


def psnr(images: Images, path: Path) -> float:
    """The likeness of a video and its frames, decibels."""
    with av.open(str(path)) as container:
        errors = [
            np.mean((frame.to_ndarray(format="bgr24").astype(np.float32) - image) ** 2)
            for image, frame in zip(images, container.decode(video=0), strict=True)
        ]
    return float(10 * np.log10(255**2 / np.mean(errors)))


if __name__ == "__main__":
    main()
