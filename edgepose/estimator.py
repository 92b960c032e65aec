"""`PoseEstimator`, the one class that most users need: a model, opened, and the pipeline that runs it."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepose.arguments import choice, name_or_path, share, size, switch, whole
from edgepose.arrays import Image, Ints
from edgepose.errors import InputError
from edgepose.loading import Backend, open_detector, open_model
from edgepose.media.images import check_image
from edgepose.media.sources import Frame, Source, open_source
from edgepose.pipelines import Options, make_pipeline
from edgepose.pipelines.bottom_up import BottomUp
from edgepose.pipelines.detection import Detector
from edgepose.pipelines.following import MAX_GAP_S, Follower, detection_interval, follow
from edgepose.pipelines.scheduling import Started, freshest, in_order
from edgepose.pipelines.top_down import TopDown
from edgepose.pipelines.windows import WindowedFrames
from edgepose.poses import Poses
from edgepose.tracking import Tracker

if TYPE_CHECKING:
    from edgepose.decoding.heatmaps import Refinement
    from edgepose.engines.openvino import Hint, Precision


@dataclass(frozen=True, eq=False)
class EstimatedFrame(Frame):
    """A frame of a source with the people in it.

    Attributes:
        poses: The people, best first.
    """

    poses: Poses


class _Closed:
    """Stands for the network of an estimator that is closed."""

    def __getattr__(self, name: str) -> Any:
        raise InputError("this PoseEstimator is closed; make a new one")


_CLOSED: Any = _Closed()


class PoseEstimator:
    """Finds people and their keypoints in images.

    Threads may share one: calls are independent of each other. Processes may not: each makes its own, after a fork. `close()`,
    or leaving a `with` statement, frees the network and its threads.

    Args:
        model: "fast", "default" or "accurate"; another name of the zoo (`edgepose models list`); or a path to a .xml, .onnx,
            .tflite or .pb file. A file describes itself (as the converters of edgepose write it), or NAME.yaml beside it does.
        device: OpenVINO device: "CPU", "GPU", "AUTO", ...; or PyTorch's: "cpu", "cuda", "cuda:1".
        backend: What runs the network: "openvino"; or "torch", which runs checkpoints of HRNet and HigherHRNet as they
            are. None: "torch" for a CUDA device, else "openvino".
        input_size: Height of the network's input in pixels, its width following the image's aspect in a few steps (of
            HigherHRNet, the short side); or (height, width), fixed. Smaller is faster, larger finds smaller people. None: the
            model's own height.
        threads: Processor threads at most; None: all cores.
        streams: Networks run at a time at most; None: as the hint has it.
        hint: "latency" for the quickest single answer, "throughput" for the most frames a second.
        precision: "f32", "f16" or "bf16" arithmetic; None: the device's choice.
        min_score: Least score of a keypoint, in [0, 1]; None: the model's own. Keypoints below are not found.
        min_confidence: Least confidence of a person, in [0, 1]; None: the model's own. People below are left out; 0 keeps
            everybody, whoever is not there included.
        detector: Finds the people for a top-down model where the caller gives no boxes: a name or file of a detector, or of a
            bottom-up model, around whose people boxes are put; or a function from an image to boxes (N, 4) x0, y0, x1, y1,
            or (N, 5) with a confidence behind. It runs on the CPU. None: the default model, which is opened when the first
            picture comes without boxes.
        batch_size: Crops that go through a top-down network together at most. None: 1 with OpenVINO, 32 with PyTorch.
        refinement: How a top-down model places a keypoint between the cells of its map: "quarter" (None, too) or "dark".
        flip_test: Run a top-down model on the mirrored crops, too: somewhat more accurate, at twice the time.
        follow: Let a bottom-up model follow people in videos, too: `stream` runs it on the part of a frame where people are,
            and on the whole frame every `detect_every` frames. Top-down models always follow.
        detect_every: Frames from one detection to the next, in the videos that `stream` follows people in; 1 looks for people
            in every frame, and follows nobody. None: half a second's, or 15 where the source does not say its rate.

    Raises:
        InputError: An argument is out of range, or is one of a top-down model and this one is bottom-up.
        MissingExtraError: The backend is "torch", and PyTorch is not installed.
        UnknownModelError: No model has this name.
        DownloadError: Its files are not here and cannot be fetched.
        ModelError: The file cannot be read, nothing describes it, or it is not a pose model.
        DeviceError: The device is not there.
    """

    def __init__(
        self,
        model: str | Path = "default",
        *,
        device: str = "CPU",
        backend: Backend | None = None,
        input_size: int | tuple[int, int] | None = None,
        threads: int | None = None,
        streams: int | None = None,
        hint: Hint = "latency",
        precision: Precision | None = None,
        min_score: float | None = None,
        min_confidence: float | None = None,
        detector: str | Path | Detector | None = None,
        batch_size: int | None = None,
        refinement: Refinement | None = None,
        flip_test: bool = False,
        follow: bool = False,
        detect_every: int | None = None,
    ) -> None:
        input_size = size("input_size", input_size)
        min_score, min_confidence = share("min_score", min_score), share("min_confidence", min_confidence)
        batch_size = whole("batch_size", batch_size)
        choice("refinement", refinement, ("quarter", "dark"))
        if detector is not None and not callable(detector):
            expected = "the name or the file of a model, a function from an image to boxes, or None"
            detector = name_or_path("detector", detector, expected)
        flip_test = switch("flip_test", flip_test)
        follow, detect_every = switch("follow", follow), whole("detect_every", detect_every)
        options = Options(
            input_size, min_score, min_confidence, detector, batch_size, refinement, flip_test, follow, detect_every
        )
        opened = open_model(
            model, device=device, backend=backend, threads=threads, streams=streams, hint=hint, precision=precision
        )
        self.model = opened.model
        self.engine = opened.engine
        self.input_size = self.model.size[0] if input_size is None else input_size
        self.detect_every = detect_every
        self._follow = follow
        self.min_score = self.model.min_score if min_score is None else min_score
        self.min_confidence = self.model.min_confidence if min_confidence is None else min_confidence
        self.pipeline = make_pipeline(opened, options, partial(open_detector, threads=threads))
        self._process = os.getpid()
        # Frames whose people share batches, where the most frames a second count more than the quickest answer.
        self._together = 4 if hint == "throughput" and self.pipeline.batch_size > 1 else 1

    def __call__(self, image: Image, *, boxes: Any = None) -> Poses:
        """People in `image` (H, W, 3) uint8 BGR, best first.

        Args:
            image: The frame.
            boxes: For a top-down model, where the people are: (N, 4) x0, y0, x1, y1 in pixels, or (N, 5) with a confidence
                behind. What sticks out of the frame is cut off, boxes outside are dropped, and of more than 256 the most
                confident are taken. None: the detector says.

        Raises:
            InputError: The image has another shape or type; the boxes are none, or the model does not take any.
        """
        check_image(image)
        self._check_usable()
        return self.pipeline.start(image, boxes).result()

    def batch(self, images: Sequence[Image]) -> list[Poses]:
        """People in each of `images`, as one by one."""
        return [poses for _, poses in in_order(images, self.start, self._requests, self._together)]

    def stream(
        self, source: Source | str | int | Path | Iterable[Image], *, track: bool = False, smooth: bool = False
    ) -> Generator[EstimatedFrame, None, None]:
        """People in each frame of a source: a file, a folder, a glob, a video, a camera (0), a URL, or images.

        A frame is decoded while the network runs on the next. Of what is live, cameras and network streams, only the newest
        frame is taken, and the rest is counted in `Source.dropped`.

        In videos and what is live, a top-down model follows people from frame to frame: it looks for them where they were, and
        the detector looks for others beside it, every `detect_every` frames. Pictures have nothing to do with each other, and
        are looked at one by one; so are arrays, unless `detect_every` or `follow` was given.

        Args:
            source: What to read; see `edgepose.media.sources.open_source`.
            track: Give people identities that last from frame to frame.
            smooth: Smooth the keypoints over time; tracks, too.

        Raises:
            SourceError: The source cannot be opened or read.
            InputError: People are to be followed, in pictures.
            ModelError: The detector has failed; the message begins with the number of the frame.
        """
        are_arrays = not isinstance(source, (Source, str, int, Path))
        with source if isinstance(source, Source) else open_source(source) as frames:
            every = self.interval(frames, are_arrays=are_arrays)
            gap = {} if every == 1 else {"max_gap_s": MAX_GAP_S}
            tracker = Tracker(smooth=smooth, **gap) if track or smooth else None
            for frame, poses, keys in self._results(frames, every):
                if tracker is not None:
                    poses = tracker.update(poses, frame.timestamp, keys)
                yield EstimatedFrame(frame.image, frame.index, frame.timestamp, frame.path, poses, received=frame.received)

    def interval(self, frames: Source, *, are_arrays: bool = False) -> int:
        """Frames from one detection to the next, in a source; 1 where nobody is followed.

        Args:
            frames: The source.
            are_arrays: It was made of a caller's arrays.

        Raises:
            InputError: People in pictures are to be followed.
        """
        is_wanted = self._follow or self.detect_every is not None
        if frames.kind == "images" and not (are_arrays and is_wanted):
            if self._follow:
                raise InputError(
                    f"{frames.name}: pictures; expected a video, or a camera, to follow people in: leave follow out"
                )
            return 1
        if not (self._follow or isinstance(self.pipeline, TopDown)):
            return 1
        return detection_interval(frames.fps) if self.detect_every is None else int(self.detect_every)

    def _results(self, frames: Source, every: int) -> Iterator[tuple[Frame, Poses, Ints | None]]:
        """Each frame with its people, and the numbers of those who are followed one by one."""
        if every > 1 and isinstance(self.pipeline, TopDown):
            yield from follow(frames, Follower(self.pipeline, every, is_live=frames.is_live), self._requests)
            return
        with ExitStack() as stack:
            start = self._start_frames
            if every > 1 and isinstance(self.pipeline, BottomUp):
                start = stack.enter_context(closing(WindowedFrames(self.pipeline, every))).start
            if frames.is_live:
                results = freshest(frames, start, self._requests)
            else:
                results = in_order(frames, start, self._requests, self._together)
            for frame, poses in results:
                yield frame, poses, None

    def start(self, images: Sequence[Image]) -> list[Started]:
        """Start the network on `images`; each `result()` of what is returned waits for the people in one of them.

        Raises:
            InputError: An image has another shape or type.
        """
        for image in images:
            check_image(image)
        self._check_usable()
        return self.pipeline.start_together(images)

    def close(self) -> None:
        """Let go of the network, its memory and threads: it cannot be used any more. Closing twice does no harm."""
        self.engine = self.pipeline = _CLOSED

    def __enter__(self) -> PoseEstimator:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> Any:
        raise InputError(
            "a PoseEstimator cannot be pickled or copied, as its network and threads belong to one process; make it in each "
            "process that uses it: after the fork, or use spawn"
        )

    def _check_usable(self) -> None:
        """Refuse an estimator whose threads are not here: after a fork, the child waits for them for ever."""
        if self._process != os.getpid():
            raise InputError(
                "this PoseEstimator was made before the process forked, and its threads stayed behind; make it after the fork, "
                "or use spawn (multiprocessing.get_context('spawn'))"
            )

    def _start_frames(self, frames: list[Frame]) -> list[Started]:
        return self.start([frame.image for frame in frames])

    def _requests(self) -> int:
        return self.engine.requests
