from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import numpy as np
import pictures
import pytest

pytest.importorskip("starlette", reason="the extra `serve` is not installed")

from serving import Camera, sample

from edgepose.media.sources import open_source
from edgepose.server.broadcast import Broadcast
from edgepose.server.inference import SourceInference
from edgepose.server.results import Result

PHOTO = np.random.default_rng(3).integers(0, 256, (48, 64, 3), np.uint8)


def framed(message: bytes) -> bytes:
    return b"<%b>" % message


class Viewer:
    """A peer that keeps what it is sent."""

    def __init__(self) -> None:
        self.is_ready = True
        self.is_gone = False
        self.received: list[bytes] = []

    def write(self, messages: list[bytes], encoded: bytes) -> None:
        assert b"".join(b"<%b>" % message for message in messages) == encoded
        self.received.append(b"".join(messages))

    def abort(self) -> None:
        self.is_gone = True


class Stage:
    """A camera, its inference, and an broadcast that sees the numbers of the frames since, each made with a comma."""

    def __init__(self, inference: SourceInference, camera: Camera, **options: float) -> None:
        self.inference = inference
        self.camera = camera
        self.made: list[int] = []
        self.broadcast = Broadcast(inference, "poses", self._make, framed, **{"rate": 1000.0, "patience_s": 20.0, **options})

    async def _make(self, result: Result, since: int) -> list[bytes]:
        self.made.append(result.number)
        people = [*self.inference.between(since, result.number), result.people]
        return [b"%d," % each.number for each in people]

    async def show(self, count: int = 1) -> None:
        """Show so many frames, and wait until the last has been looked at."""
        for _ in range(count):
            number = self.inference.frames
            self.camera.show(PHOTO)
            await until(lambda: self.inference.frames > number)  # noqa: B023


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def on_stage(estimator, use: Callable[[Stage], Awaitable[None]], **options: float) -> None:
    """Run `use` with an broadcast of a camera."""
    camera = Camera()

    async def run() -> None:
        inference = SourceInference(estimator, camera.open)
        inference.start()
        try:
            await asyncio.wait_for(use(Stage(inference, camera, **options)), 20)
        finally:
            inference.release_viewers()
            await asyncio.to_thread(inference.close)

    asyncio.run(run())


def test_everybody_sees_every_frame_which_is_made_once(tiny_estimator):
    async def use(stage: Stage) -> None:
        viewers = [Viewer() for _ in range(3)]
        watching = [asyncio.create_task(stage.broadcast.watch(viewer)) for viewer in viewers]
        for number in range(1, 5):
            await stage.show()
            await until(lambda: stage.made[-1:] == [number])  # noqa: B023
        assert stage.made == [1, 2, 3, 4]
        stage.inference.release_viewers()
        await asyncio.gather(*watching)
        assert [viewer.received for viewer in viewers] == [[b"1,", b"2,", b"3,", b"4,"]] * 3

    on_stage(tiny_estimator, use)


def test_nothing_is_made_while_nobody_watches(tiny_estimator):
    async def use(stage: Stage) -> None:
        await stage.show(3)
        assert stage.made == []
        first, second = Viewer(), Viewer()
        watching = asyncio.create_task(stage.broadcast.watch(first))
        await until(lambda: first.received)
        watching.cancel()
        await stage.show()  # Ends it: nobody is there any more.
        await until(lambda: stage.broadcast._sending is None)
        made = len(stage.made)
        await stage.show(3)
        assert len(stage.made) == made
        watching = asyncio.create_task(stage.broadcast.watch(second))
        await until(lambda: second.received)
        # Both began with the newest that there was, alone.
        assert (first.received[0], second.received[0]) == (b"3,", b"7,")
        watching.cancel()

    on_stage(tiny_estimator, use)


def test_frames_that_come_faster_than_the_rate_come_together(tiny_estimator):
    async def use(stage: Stage) -> None:
        viewer, late = Viewer(), Viewer()
        watching = [asyncio.create_task(stage.broadcast.watch(viewer))]
        await stage.show(30)
        await until(lambda: viewer.received[-1:] and viewer.received[-1].endswith(b"30,"))
        watching.append(asyncio.create_task(stage.broadcast.watch(late)))
        await until(lambda: late.received)
        assert b"".join(viewer.received) == b"".join(b"%d," % number for number in range(1, 31))
        assert len(viewer.received) == len(stage.made) < 30
        assert late.received == [b"30,"]
        for task in watching:
            task.cancel()

    on_stage(tiny_estimator, use, rate=5.0)


def test_who_is_not_ready_misses_it_and_holds_up_nobody(tiny_estimator):
    async def use(stage: Stage) -> None:
        slow, quick = Viewer(), Viewer()
        watching = [asyncio.create_task(stage.broadcast.watch(viewer)) for viewer in (slow, quick)]
        for number in range(1, 7):
            slow.is_ready = number in (1, 5, 6)
            await stage.show()
            await until(lambda: stage.made[-1:] == [number])  # noqa: B023
        await asyncio.sleep(0)
        assert b"".join(quick.received) == b"1,2,3,4,5,6,"
        assert b"".join(slow.received) == b"1,5,6,"
        assert sample(stage.inference.metrics, "frames_skipped_total", kind="poses") == 3
        assert not slow.is_gone
        for task in watching:
            task.cancel()

    on_stage(tiny_estimator, use)


@pytest.mark.parametrize("frames_come", [True, False])
def test_who_is_never_ready_is_let_go(tiny_estimator, frames_come):
    async def use(stage: Stage) -> None:
        stuck, quick = Viewer(), Viewer()
        stuck.is_ready = False
        watching = [asyncio.create_task(stage.broadcast.watch(viewer)) for viewer in (stuck, quick)]
        if frames_come:
            await stage.show()
        await until(lambda: stuck.is_gone)
        assert not quick.is_gone
        assert stuck.received == []
        for task in watching:
            task.cancel()

    on_stage(tiny_estimator, use, patience_s=0.1)


@pytest.mark.parametrize("camera_ends", [True, False])
def test_it_ends_with_the_source_or_the_server(tiny_estimator, tmp_path, camera_ends):
    video = pictures.write_video(tmp_path / "clip.avi", 3)

    async def run() -> None:
        camera = Camera()
        inference = SourceInference(
            tiny_estimator, partial(open_source, str(video)) if camera_ends else camera.open, paced=False
        )
        stage = Stage(inference, camera)
        viewer = Viewer()
        inference.start()
        watching = asyncio.create_task(stage.broadcast.watch(viewer))
        if not camera_ends:
            await asyncio.sleep(0)
            inference.release_viewers()
        await asyncio.wait_for(watching, 20)
        assert b"".join(viewer.received).endswith(b"3,") == camera_ends
        inference.release_viewers()
        await asyncio.to_thread(inference.close)

    asyncio.run(run())


def test_an_error_reaches_whoever_watches(tiny_estimator):
    async def use(stage: Stage) -> None:
        async def fail(_: Result, __: int) -> list[bytes]:
            raise RuntimeError("a bug")

        broadcast = Broadcast(stage.inference, "poses", fail, framed, rate=1000.0, patience_s=20.0)
        watching = [asyncio.create_task(broadcast.watch(Viewer())) for _ in range(2)]
        await stage.show()
        for task in watching:
            with pytest.raises(RuntimeError, match="a bug"):
                await task

    on_stage(tiny_estimator, use)
