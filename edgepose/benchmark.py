"""Measures the frame rate of a model with everything around it, against its bare network on the same device in the same run.

The two are measured in turns of about a second, so that other load on the machine affects both alike. "Bare" is what
OpenVINO's own benchmark_app measures: an asynchronous queue of the same compiled network, fed with a buffer that is already
there, its outputs left unread.
"""

from __future__ import annotations

import itertools
import platform
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import openvino as ov

import edgepose
from edgepose.arrays import Double, Image
from edgepose.doctor import package_version, processor
from edgepose.drawing import draw_poses
from edgepose.engines.openvino import OpenVINOEngine
from edgepose.errors import InputError
from edgepose.estimator import PoseEstimator
from edgepose.media.images import sample_photo
from edgepose.media.sources import Frame, Source, open_source
from edgepose.pipelines import Pipeline
from edgepose.pipelines.bottom_up import BottomUp
from edgepose.pipelines.detection import Detector
from edgepose.pipelines.following import Follower
from edgepose.pipelines.scheduling import Started
from edgepose.pipelines.top_down import TopDown
from edgepose.pipelines.windows import WindowedFrames
from edgepose.poses import Poses
from edgepose.tracking import Tracker

# A turn is this long, of the bare network; shorter ones would measure their own beginnings and ends.
TURN_S = 1.0
MIN_TURN_FRAMES = 10
# Frames of each turn that do not count: by then the queues are as full as they will be at its end.
SETTLING_FRAMES = 5
STAGES = ("read", "pre", "network", "decode", "track", "draw")
PACKAGES = ("openvino", "numpy", "numba")


@dataclass(frozen=True)
class Benchmark:
    """The speed of a model on this machine.

    Attributes:
        end_to_end_fps: Frames a second from the source to people drawn and tracked.
        network_fps: Frames a second of the bare network: its runs a second; of a top-down model, by the people in a frame.
        peak_memory_mb: Most memory that the process had up to then, in megabytes; None where the system does not tell.
        stages: Milliseconds of each stage, (M,) frames, one frame at a time and with nothing beside it. "detect", of a top-down
            model's detector, has those frames alone in which it ran.
        model: Its name.
        machine: Processor, system, device, and versions of the packages that do the work.
    """

    end_to_end_fps: float
    network_fps: float
    peak_memory_mb: float | None
    stages: dict[str, Double]
    model: str
    machine: dict[str, str]

    @property
    def detections(self) -> tuple[int, int] | None:
        """In how many frames a detector ran, and of how many; None for a model that has none."""
        return (len(self.stages["detect"]), len(self.stages["read"])) if "detect" in self.stages else None

    @property
    def ratio(self) -> float:
        """The rate end to end as a part of the bare network's rate."""
        return self.end_to_end_fps / self.network_fps

    def quantiles(self, stage: str) -> list[float]:
        """Milliseconds of a stage that half of the frames, 90 % and 99 % of them take at most."""
        times = self.stages[stage]
        return [float(value) for value in np.quantile(times, (0.5, 0.9, 0.99))] if len(times) else [0.0] * 3

    def to_dict(self) -> dict[str, Any]:
        """The figures, for JSON."""
        ran = {} if self.detections is None else {"detections": dict(zip(("runs", "frames"), self.detections, strict=True))}
        return {
            "model": self.model,
            "end_to_end_fps": round(self.end_to_end_fps, 2),
            "network_fps": round(self.network_fps, 2),
            "ratio": round(self.ratio, 4),
            "peak_memory_mb": self.peak_memory_mb,
            "stages": {
                name: {f"p{p}_ms": round(value, 3) for p, value in zip((50, 90, 99), self.quantiles(name), strict=True)}
                for name in self.stages
            },
            **ran,
            "machine": self.machine,
        }


def benchmark(estimator: PoseEstimator, source: str | Path | Sequence[Image] | None = None, *, frames: int = 300) -> Benchmark:
    """Measure `estimator` over the frames of a source.

    Args:
        estimator: A model on OpenVINO.
        source: A video, a folder, or images (H, W, 3) uint8 BGR, begun again where it ends. None: `synthetic_frames`, or
            `portrait_frames` for a top-down model, whose work is people.
        frames: How many to measure end to end; as many runs of the bare network; and a third of it for the stages.

    Raises:
        InputError: The model runs elsewhere; or the source is live, has no frames, or nobody in it for a top-down model.
        SourceError: The source cannot be read.
    """
    if frames < 1:
        raise InputError(f"frames is {frames}; expected 1 or more")
    if source is None:
        source = portrait_frames() if isinstance(estimator.pipeline, TopDown) else synthetic_frames()
    open_frames = partial(open_source, source)
    with open_frames(read_ahead=False) as opened:
        if opened.is_live:
            raise InputError(f"{opened.name} is live and would be what is measured; expected a video, or no source at all")
        first = next(opened, None)
    if first is None:
        raise InputError(f"{opened.name}: has no frames to measure with; expected at least one")
    bare = _BareNetwork(estimator, *first.image.shape[:2])
    turn = int(np.clip(bare.run(MIN_TURN_FRAMES)[0] * TURN_S, MIN_TURN_FRAMES, frames))
    bare_s = whole_s = 0.0
    measured = people = 0
    with closing(_people_drawn(estimator, open_frames, opened.fps)) as drawn:
        for _ in itertools.islice(drawn, MIN_TURN_FRAMES):
            pass  # Compiles, and fills the caches.
        while measured < frames:
            count = min(turn, frames - measured)
            bare_s += bare.run(count)[1]
            for _ in itertools.islice(drawn, SETTLING_FRAMES):
                pass
            started = time.perf_counter()
            people += sum(itertools.islice(drawn, count))
            whole_s += time.perf_counter() - started
            measured += count
    if isinstance(estimator.pipeline, TopDown):
        if not people:
            raise InputError(
                f"{opened.name}: {estimator.model.name} finds nobody in it; expected people, whom a top-down model is for"
            )
        bare_s *= people / measured
    every = estimator.interval(Source("benchmark", "video", iter(()), fps=opened.fps))
    stages = time_stages(estimator, partial(open_frames, read_ahead=False), max(1, frames // 3), every)
    machine = {
        "processor": processor(),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "device": bare.description,
        "opencv": cv2.__version__,
        "edgepose": edgepose.__version__,
        **{name: package_version(name) or "not installed" for name in PACKAGES},
    }
    return Benchmark(measured / whole_s, measured / bare_s, _peak_memory_mb(), stages, estimator.model.name, machine)


def synthetic_frames(count: int = 60, *, height: int = 720, width: int = 1280) -> list[Image]:
    """Frames (H, W, 3) to measure with where there is no video: a soft pattern that moves, with nobody in it."""
    coarse = np.random.default_rng(0).integers(0, 256, (max(2, height // 40), max(2, width // 20), 3), np.uint8)
    wide = np.asarray(cv2.resize(coarse, (2 * width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
    return [wide[:, index * width // count :][:, :width] for index in range(count)]


def portrait_frames(count: int = 60, *, height: int = 720, width: int = 1280) -> list[Image]:
    """Frames (H, W, 3) to measure a top-down model with where there is no video: somebody on grey, who moves to and fro."""
    portrait = np.asarray(cv2.resize(sample_photo("demo"), (height, height), interpolation=cv2.INTER_AREA), np.uint8)
    frames = np.full((count, height, width, 3), 114, np.uint8)
    for index, frame in enumerate(frames):
        left = round((width - height) * (0.5 + 0.3 * np.sin(2 * np.pi * index / count)))
        frame[:, left : left + height] = portrait
    return list(frames)


class _BareNetwork:
    """The network of an estimator alone, in a queue that is never empty."""

    def __init__(self, estimator: PoseEstimator, frame_height: int, frame_width: int) -> None:
        pipeline, engine = estimator.pipeline, estimator.engine
        if not (isinstance(pipeline, (BottomUp, TopDown)) and isinstance(engine, OpenVINOEngine)):
            raise InputError(
                f"{estimator.model.name} does not run on OpenVINO; expected a model that does, such as the default"
            )
        size = pipeline.crop_size if isinstance(pipeline, TopDown) else pipeline.input_shape(frame_height, frame_width)
        shape = (1, *size)
        compiled = engine.compiled(shape)
        requests = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        self.description = f"{engine.device}, input {shape[2]}x{shape[1]}, {requests} request{'s' * (requests != 1)} at a time"
        self._queue = ov.AsyncInferQueue(compiled, requests)
        picture = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
        for request in self._queue:
            request.set_input_tensor(ov.Tensor(picture))

    def run(self, count: int) -> tuple[float, float]:
        """Run it `count` times; returns runs a second, and seconds."""
        started = time.perf_counter()
        for _ in range(count):
            self._queue.start_async()
        self._queue.wait_all()
        seconds = time.perf_counter() - started
        return count / seconds, seconds


def repeated(open_frames: Callable[[], Source]) -> Generator[Frame, None, None]:
    """Frames of a source that begins again where it ends, numbered and timed as one."""
    index, offset, last = 0, 0.0, -1 / 30
    while True:
        with open_frames() as source:
            offset, before = last + 1 / 30, index
            for frame in source:
                last = offset + frame.timestamp
                yield Frame(frame.image, index, last, frame.path)
                index += 1
            if index == before:
                return


def _people_drawn(estimator: PoseEstimator, open_frames: Callable[[], Source], fps: float | None) -> Generator[int, None, None]:
    """The number of people in each frame, once it is annotated as `edgepose run --track --save` does it."""
    frames = repeated(open_frames)
    source = Source("benchmark", "video", frames, fps=fps, release=frames.close)
    with closing(estimator.stream(source, track=True)) as results:
        for frame in results:
            draw_poses(frame.image, frame.poses)
            yield len(frame.poses)


def time_stages(estimator: PoseEstimator, open_frames: Callable[[], Source], count: int, every: int = 1) -> dict[str, Double]:
    """Milliseconds of each stage (M,), one frame after the other.

    Args:
        estimator: Finds the people.
        open_frames: Opens the source, whenever its frames are used up.
        count: M, the number of frames.
        every: Frames from one detection to the next; 1: nobody is followed.
    """
    tracker = Tracker()
    times: list[list[float]] = []
    with ExitStack() as stack:
        frames = stack.enter_context(closing(repeated(open_frames)))
        start = stack.enter_context(_starting(estimator, every))
        detections = stack.enter_context(_timed_detector(estimator.pipeline))
        for number in range(count + 1):
            if number == 1:
                detections.clear()  # The first frame opens the source and the detector, and fills caches.
            clock = [time.perf_counter()]

            def done(clock: list[float] = clock) -> None:
                clock.append(time.perf_counter())

            frame = next(frames)
            done()
            detected = [sum(detections)]
            started = start(frame)
            done()
            detected.append(sum(detections))
            started.wait()
            done()
            poses = started.result()
            done()
            detected.append(sum(detections))
            poses = tracker.update(poses, frame.timestamp)
            done()
            draw_poses(frame.image, poses)
            done()
            times.append([1000 * (b - a) for a, b in itertools.pairwise(clock)])
            # Detection is a stage of its own: it is asked for as a frame is started, or as its people are known.
            times[-1][1] -= detected[1] - detected[0]
            times[-1][3] -= detected[2] - detected[1]
    table = np.array(times[1:])
    stages = {name: table[:, column] for column, name in enumerate(STAGES)}
    if isinstance(estimator.pipeline, TopDown):
        stages["detect"] = np.array(detections)
    return stages


@contextmanager
def _starting(estimator: PoseEstimator, every: int) -> Iterator[Callable[[Frame], Started]]:
    """A function that starts the network on a frame, as `PoseEstimator.stream` does it where detections are so far apart."""
    pipeline = estimator.pipeline
    if every > 1 and isinstance(pipeline, TopDown):
        with closing(Follower(pipeline, every, executor=AtOnce())) as follower:

            def start(frame: Frame) -> Started:
                started = follower.start(frame)

                def finish() -> Poses:
                    follower.finish(started)
                    return follower.report(started)[1]

                return Started(finish, started.people)

            yield start
    elif every > 1 and isinstance(pipeline, BottomUp):
        with closing(WindowedFrames(pipeline, every, executor=AtOnce())) as windowed:
            yield lambda frame: windowed.start([frame])[0]
    else:
        yield lambda frame: estimator.start([frame.image])[0]


class AtOnce(Executor):
    """Runs everything in the calling thread, so that its time can be told from that of the rest."""

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:
        """Run it; the result is there when this returns."""
        future: Future[Any] = Future()
        try:
            future.set_result(function(*arguments, **options))
        except Exception as error:
            future.set_exception(error)
        return future


@contextmanager
def _timed_detector(pipeline: Pipeline) -> Iterator[list[float]]:
    """The milliseconds of each run of a top-down pipeline's detector."""
    runs: list[float] = []
    if not isinstance(pipeline, TopDown):
        yield runs
        return
    detectors = pipeline.detector, pipeline.detector_beside

    def timed(detector: Detector, image: Image) -> Any:
        started = time.perf_counter()
        try:
            return detector(image)
        finally:
            runs.append(1000 * (time.perf_counter() - started))

    pipeline.detector, pipeline.detector_beside = (partial(timed, detector) for detector in detectors)
    try:
        yield runs
    finally:
        pipeline.detector, pipeline.detector_beside = detectors


def _peak_memory_mb() -> float | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1e6 if sys.platform == "darwin" else 1e3), 1)  # bytes there, kilobytes elsewhere
