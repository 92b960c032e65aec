"""Something happens when a person comes or raises a hand: `python demos/raspberry_pi.py 0 --gpio 17 --url http://server/hook`.

For a Raspberry Pi without a screen, though it runs anywhere. Each event is a line of JSON on standard output, a pulse on a
GPIO line, and a POST of the same JSON to a URL, as asked for. To have an event of your own, change `happening`.
"""

from __future__ import annotations

import argparse
import json
import queue
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import requests
from numpy.typing import NDArray

import edgepose

LEAST_CONFIDENCE = 0.2  # Whoever has less of either is more often a coat stand than a person.
LEAST_KEYPOINTS = 5
MISSED_FRAMES = 2  # A person or a wrist that is not found in so many frames is still there,
MISSED_S = 2.0  # unless it is longer than this: what is seen twice, with nothing between, is not there all the time.
PULSE_S = 1.0
TIMEOUT_S = 3.0  # For the server to be reached, and then for its answer.
WAITING = 8  # Events that may wait for a slow server. More are not sent: what was long ago interests nobody.

Event = dict[str, Any]
Key = tuple[str, int]  # What happens, and to whom.


def happening(poses: edgepose.Poses) -> dict[str, NDArray[np.bool_]]:
    """The rule: for each of N people, (N,), whether it is so in this frame."""
    names = poses.skeleton.keypoints
    y = poses.keypoints[..., 1]  # (N, K) pixels, downwards; NaN where not found
    wrists = y[:, [names.index(name) for name in ("r_wrist", "l_wrist")]]
    head = y[:, [names.index(name) for name in ("nose", "r_eye", "l_eye", "r_ear", "l_ear")]]

    here = (poses.confidence >= LEAST_CONFIDENCE) & ((poses.scores > 0).sum(axis=1) >= LEAST_KEYPOINTS)
    # The higher wrist above all of the head. fmin passes over NaN, and nothing is less than NaN.
    hand_up = np.fmin.reduce(wrists, axis=1) < np.fmin.reduce(head, axis=1)
    return {"person": here, "hand": here & hand_up}


@dataclass
class _Seen:
    """Since when something has been so, when it last was, how many frames ago that is, and whether it is an event already."""

    since: float
    last: float
    missed: int = 0
    told: bool = False


class Debounce:
    """Makes one event of what is so in many frames, and none of what is so in one.

    Args:
        hold_s: It must be so for this long, in seconds.
        quiet_s: Of a kind of event there is at most one in this time: two people who come together are one event. What has
            been told of is told of again only after it was not so for as long.
    """

    def __init__(self, hold_s: float = 0.5, quiet_s: float = 5.0) -> None:
        self.hold_s = hold_s
        self.quiet_s = quiet_s
        self._seen: dict[Key, _Seen] = {}
        self._told: dict[str, float] = {}

    def __call__(self, so: set[Key], now: float) -> list[Key]:
        """What begins to be an event with this frame, of what is so in it. Times in seconds, from any start."""
        events = []
        for key in sorted(so):  # Of two who come together it is the first, not whom a set happens to have first.
            seen = self._seen.get(key)
            if seen is None or now - seen.last > (max(MISSED_S, self.quiet_s) if seen.told else MISSED_S):
                seen = self._seen[key] = _Seen(now, now)
            seen.last, seen.missed = now, 0
            if not seen.told and now - seen.since >= self.hold_s:
                seen.told = True
                if now - self._told.get(key[0], -np.inf) >= self.quiet_s:
                    self._told[key[0]] = now
                    events.append(key)
        for key in self._seen.keys() - so:
            seen = self._seen[key]
            seen.missed += 1
            if now - seen.last > self.quiet_s if seen.told else seen.missed > MISSED_FRAMES:
                del self._seen[key]
        return events


def say(text: object) -> None:
    print(text, file=sys.stderr, flush=True)


def in_background(action: Callable[[Event], object]) -> tuple[Callable[[Event], None], Callable[[], None]]:
    """`action` in a thread of its own: a function that hands it an event and never waits, and one that ends it.

    The end waits for the events that were handed over, but not for long.
    """
    waiting: queue.Queue[Event | None] = queue.Queue(WAITING)

    def work() -> None:
        while (event := waiting.get()) is not None:
            action(event)

    def hand_over(event: Event) -> None:
        try:
            waiting.put_nowait(event)
        except queue.Full:
            say(f"{event['event']}: {WAITING} events are waiting already; not sent")

    def end() -> None:
        try:
            waiting.put(None, timeout=TIMEOUT_S)
            thread.join(2 * TIMEOUT_S)
        except queue.Full:
            pass  # The thread is a daemon: it ends with the program.

    thread = threading.Thread(target=work, name="events", daemon=True)
    thread.start()
    return hand_over, end


def call(url: str, event: Event) -> None:
    try:
        requests.post(url, json=event, timeout=TIMEOUT_S).raise_for_status()
    except requests.RequestException as error:  # The next event may fare better.
        say(f"{event['event']}: {error}")


def gpio_line(pin: int) -> Any:
    """The line, low. `blink` and `close` it; gpiozero does both in a thread of its own."""
    try:
        import gpiozero
    except ImportError:
        sys.exit("--gpio needs gpiozero: sudo apt install python3-gpiozero python3-lgpio")
    try:
        return gpiozero.DigitalOutputDevice(pin)
    except Exception as error:  # No GPIO on this machine, a pin that is taken, and others of gpiozero's and lgpio's.
        sys.exit(f"GPIO {pin} cannot be used: {error or type(error).__name__}; see: pinctrl get {pin}")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    about = "picamera, 0 for a USB camera, rtsp://..., or a video (default: %(default)s)"
    parser.add_argument("source", nargs="?", default="picamera", metavar="SOURCE", help=about)
    parser.add_argument("--camera", help=argparse.SUPPRESS)  # Its name before.
    parser.add_argument("--model", default="default", help="see `edgepose models list` (default: %(default)s)")
    parser.add_argument("--height", type=int, default=256, help="of the network's input: less is faster (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="leave a core to others with 3 (default: all cores)")
    parser.add_argument("--gpio", type=int, metavar="N", help="raise this line for a second; BCM number, such as 17")
    parser.add_argument("--url", help="POST each event to it as JSON")
    parser.add_argument(
        "--hold", type=float, default=0.5, metavar="S", help="it must last so long, seconds (default: %(default)s)"
    )
    parser.add_argument(
        "--quiet", type=float, default=5, metavar="S", help="between two of a kind, seconds (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    if options.url and not options.url.startswith(("http://", "https://")):
        parser.error(f"--url is {options.url!r}; expected http://... or https://...")

    # Ctrl-C, and systemd that stops the service, end it in the same way.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    actions: list[Callable[[Event], object]] = [lambda event: print(json.dumps(event), flush=True)]
    debounce = Debounce(options.hold, options.quiet)
    with ExitStack() as stack:
        if options.gpio is not None:
            line = stack.enter_context(closing(gpio_line(options.gpio)))
            actions.append(lambda event: line.blink(on_time=PULSE_S, n=1))
        if options.url:
            hand_over, end = in_background(lambda event: call(options.url, event))
            stack.callback(end)
            actions.append(hand_over)
        try:
            estimator = edgepose.PoseEstimator(options.model, input_size=options.height, threads=options.threads)
            for frame in stack.enter_context(closing(estimator.stream(options.camera or options.source, track=True))):
                assert frame.poses.ids is not None  # as it tracks
                ids = frame.poses.ids.tolist()
                rule = happening(frame.poses)
                so = {(event, ids[n]) for event, where in rule.items() for n in np.flatnonzero(where)}
                for event, person in debounce(so, frame.timestamp):
                    people = int(rule["person"].sum())
                    told = {"event": event, "person": person, "people": people, "seconds": round(frame.timestamp, 3)}
                    for action in actions:
                        action(told)
        except edgepose.EdgePoseError as error:
            say(error)
            return 1
        except KeyboardInterrupt:
            pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
