"""Several cameras and one network: `python demos/many_cameras.py SOURCE SOURCE ...` prints how many people each of them sees.

Each is read in a thread of its own, and of each the newest frame waits for its turn; a camera that stalls, or goes away, takes
no turns and slows nobody. SOURCE is a camera number, an rtsp:// or http:// URL, or a video, of which no frame is left out.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence

import edgepose


class Turns:
    """The frames of several sources, each with its source's number: whoever has waited longest is next.

    Attributes:
        failed: The numbers of the sources that could not be opened or read, each with the reason.
    """

    def __init__(self, sources: Sequence[str]) -> None:
        self.failed: dict[int, str] = {}
        self._changed = threading.Condition()
        self._waiting: dict[int, edgepose.Frame] = {}
        self._order = deque(range(len(sources)))  # Whose turn was longest ago is first.
        self._open = set(self._order)
        self._closed = False
        for number, source in enumerate(sources):
            # A daemon: a camera that never answers does not keep the program from ending.
            threading.Thread(target=self._read, args=(number, source), name=f"camera {number}", daemon=True).start()

    def _read(self, number: int, name: str) -> None:
        try:
            with edgepose.open_source(name) as source:  # Here, since a camera that is gone takes a while to say so.
                for frame in source:
                    with self._changed:
                        if not source.is_live:
                            self._changed.wait_for(lambda: number not in self._waiting or self._closed)
                        if self._closed:
                            return
                        self._waiting[number] = frame  # In the place of an older one, of a camera.
                        self._changed.notify_all()
        except edgepose.EdgePoseError as error:
            self.failed[number] = str(error)
            print(error, file=sys.stderr, flush=True)
        finally:
            with self._changed:
                self._open.discard(number)
                self._changed.notify_all()

    def __iter__(self) -> Iterator[tuple[int, edgepose.Frame]]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or not self._open)
                number = next((number for number in self._order if number in self._waiting), None)
                if number is None:
                    return
                frame = self._waiting.pop(number)
                self._order.remove(number)
                self._order.append(number)
                self._changed.notify_all()
            yield number, frame

    def close(self) -> None:
        """End the threads; those that wait for a camera end when that wait does."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def main(sources: Sequence[str]) -> int:
    try:
        estimator = edgepose.PoseEstimator()
    except edgepose.EdgePoseError as error:
        print(error, file=sys.stderr)
        return 1
    trackers = [edgepose.Tracker() for _ in sources]  # Identities are each camera's own.
    shown: list[list[int] | None] = [None for _ in sources]
    frames = [0 for _ in sources]
    turns = Turns(sources)
    begun = math.inf
    try:
        for number, frame in turns:
            poses = trackers[number].update(estimator(frame.image), frame.timestamp)
            begun = min(begun, time.perf_counter())  # The first frame takes longer.
            frames[number] += 1
            assert poses.ids is not None
            people = sorted(poses.ids.tolist())
            if people != shown[number]:
                print(f"{frame.path} {frame.timestamp:.2f} s: {len(people)} people {people}", flush=True)
                shown[number] = people
    except KeyboardInterrupt:
        pass
    finally:
        turns.close()
    seconds = time.perf_counter() - begun
    for number in range(len(sources)):
        if number not in turns.failed:
            rate = max(frames[number] - 1, 0) / max(seconds, 0.001)
            print(f"camera {number}: {frames[number]} frames, {rate:.1f} a second")
    return 1 if turns.failed else 0


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: python demos/many_cameras.py SOURCE SOURCE ...")
    sys.exit(main(sys.argv[1:]))
