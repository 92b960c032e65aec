"""A camera in Home Assistant: how many people it sees, whether one lies on the floor, whether one raises a hand.

    MQTT_PASSWORD=... python demos/home_assistant.py SOURCE --broker mqtt://homeassistant.local --user edgepose --name Hall

SOURCE is a camera number, picamera, an rtsp:// or http:// URL, or a video. The entities appear by themselves (MQTT discovery)
under a device of that name. They are no medical device: `lying` says what is taken for a fall that is none, and what is missed.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import queue
import re
import signal
import sys
import time
import zlib
from collections import Counter, deque
from contextlib import ExitStack, closing, suppress
from typing import Any
from urllib.parse import SplitResult, urlsplit

import numpy as np
from numpy.typing import NDArray

import edgepose

FRAMES = 9  # The number of people is what most of so many frames agree on.
FALL_S, HAND_S = 2.0, 0.6  # What is so for about this long is told, and so is its end.
REPEAT_S, EXPIRE_S = 20.0, 60  # The state is sent this often; a camera that gives no frames for so long is "unavailable".
TIMEOUT_S = 10.0  # For the broker to answer.
ENTITIES = {
    ("sensor", "people"): {"name": "People", "state_class": "measurement", "icon": "mdi:account-group"},
    ("binary_sensor", "fall"): {"name": "Fall", "device_class": "safety"},  # On is "unsafe".
    ("binary_sensor", "hand"): {"name": "Raised hand", "icon": "mdi:hand-back-left"},
}


def middle(poses: edgepose.Poses, part: str) -> NDArray[np.float32]:
    """(N, 2) the middle between the left one and the right one, or the one that was found."""
    sides = np.stack([poses.keypoint(f"l_{part}"), poses.keypoint(f"r_{part}")])
    return np.asarray((np.fmin.reduce(sides) + np.fmax.reduce(sides)) / 2)  # fmin and fmax pass over NaN.


def lying(poses: edgepose.Poses) -> NDArray[np.bool_]:
    """(N,) the trunk is nearly level and the legs are not under it, as they are when one bends down, sits or crawls.

    False alarms: whoever lies down to sleep, to do gymnastics or to play. Missed: who falls towards the camera or away from it,
    who sits on the floor afterwards, and whose knees and ankles are both hidden.
    """
    hips = middle(poses, "hip")
    across, down = np.abs(hips - middle(poses, "shoulder")).T
    legs = np.fmax(middle(poses, "knee"), middle(poses, "ankle"))[:, 1] - hips[:, 1]  # How far they reach below the hips.
    return np.asarray((down < 0.5 * across) & (legs < 0.5 * across))  # Nothing is less than NaN, nor NaN than anything.


def hand_up(poses: edgepose.Poses) -> NDArray[np.bool_]:
    """(N,) a wrist is above all of the head, of somebody who does not lie."""
    y = poses.to(edgepose.COCO17).keypoints[..., 1]  # (N, 17): nose, eyes and ears first, wrists at 9 and 10
    return np.asarray((np.fmin(y[:, 9], y[:, 10]) < np.fmin.reduce(y[:, :5], axis=1)) & ~lying(poses))


class Steady:
    """On when something has been so most of the time, off when it has not: one frame that is wrong changes nothing.

    Args:
        time_s: How long it takes, about.
    """

    def __init__(self, time_s: float) -> None:
        self.time_s = time_s
        self.is_on = False
        self._share = 0.0  # Of the recent time, in which it was so.
        self._last = -math.inf

    def __call__(self, so: bool, now: float) -> bool:
        # After a camera stood still, what it shows first counts no more than another frame.
        step = min(max(now - self._last, 0.0), self.time_s / 2)
        self._share += (so - self._share) * (1 - math.exp(-step / self.time_s))
        self.is_on = self._share > (0.3 if self.is_on else 0.6)
        self._last = now
        return self.is_on


class HomeAssistant:
    """The device `name` in Home Assistant, over an MQTT broker that is connected to again whenever it goes away.

    Raises:
        EdgePoseError: The broker cannot be reached, or refuses; or paho-mqtt is not installed.
    """

    def __init__(self, broker: SplitResult, name: str, user: str | None) -> None:
        try:
            from paho.mqtt.client import Client
            from paho.mqtt.enums import CallbackAPIVersion
        except ImportError as error:
            raise edgepose.MissingExtraError("paho-mqtt", "mqtt") from error
        self.name = name
        self.id = "edgepose_" + re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")  # Topics may have no others.
        if not name.isascii():
            self.id += f"_{zlib.crc32(name.encode()):08x}"
        port = broker.port or (8883 if broker.scheme == "mqtts" else 1883)
        self.address = f"{broker.hostname}:{port}"
        self.state, self.available = f"edgepose/{self.id}/state", f"edgepose/{self.id}/availability"
        self._payload: str | None = None
        self._sent = -math.inf
        self._answers: queue.Queue[Any] = queue.Queue()
        # One identity a device: should an old connection still be open, the broker ends it, and says "offline" before "online".
        self.client = Client(CallbackAPIVersion.VERSION2, client_id=self.id)
        self.client.will_set(self.available, "offline", qos=1, retain=True)
        self.client.on_connect, self.client.on_disconnect = self._connected, self._disconnected
        self.client.reconnect_delay_set(1, 30)
        self.client.connect_timeout = TIMEOUT_S
        if user is not None:
            self.client.username_pw_set(user, os.environ.get("MQTT_PASSWORD"))
        if broker.scheme == "mqtts":
            self.client.tls_set()
        try:
            self.client.connect(broker.hostname or "", port, keepalive=30)
        except OSError as error:
            raise edgepose.EdgePoseError(f"{self.address}: the MQTT broker cannot be reached: {error}") from None
        self.client.loop_start()
        try:
            reason = self._answers.get(timeout=TIMEOUT_S)
        except queue.Empty:
            reason = "no answer"
        if reason:
            self.client.disconnect()
            self.client.loop_stop()
            raise edgepose.EdgePoseError(
                f"{self.address}: the MQTT broker refuses: {reason}; expected a --user and MQTT_PASSWORD that it knows"
            )

    def entities(self) -> dict[str, dict[str, object]]:
        """The payload of each discovery topic: https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery."""
        return {
            f"homeassistant/{kind}/{self.id}/{key}/config": {
                **fields,
                "unique_id": f"{self.id}_{key}",
                "state_topic": self.state,
                "value_template": f"{{{{ value_json.{key} }}}}",
                "availability_topic": self.available,
                "expire_after": EXPIRE_S,
                "device": {"identifiers": [self.id], "name": self.name, "manufacturer": "edgepose"},
                "origin": {"name": "edgepose", "sw_version": edgepose.__version__},
            }
            for (kind, key), fields in ENTITIES.items()
        }

    def show(self, people: int, fall: bool, hand: bool) -> None:
        """Send the state if it is another one, or the last was a while ago."""
        words = ("OFF", "ON")
        payload = json.dumps({"people": people, "fall": words[fall], "hand": words[hand]})
        if payload != self._payload or time.monotonic() - self._sent > REPEAT_S:
            # While there is no connection it is dropped; the newest is sent when there is one again.
            self._payload, self._sent = payload, time.monotonic()
            self.client.publish(self.state, payload, retain=True)

    def close(self) -> None:
        with suppress(RuntimeError, ValueError):  # There is no connection: then the broker has said it.
            self.client.publish(self.available, "offline", qos=1, retain=True).wait_for_publish(TIMEOUT_S)
        self.client.disconnect()
        self.client.loop_stop()

    def _connected(self, client: Any, data: object, flags: object, reason: Any, properties: object) -> None:
        if not reason.is_failure:
            for topic, payload in self.entities().items():
                client.publish(topic, json.dumps(payload), qos=1, retain=True)
            if self._payload is not None:
                client.publish(self.state, self._payload, retain=True)
            client.publish(self.available, "online", qos=1, retain=True)
        self._answers.put(str(reason) if reason.is_failure else "")

    def _disconnected(self, client: Any, data: object, flags: object, reason: Any, properties: object) -> None:
        if reason.is_failure:
            print(f"{self.address}: {reason}; connecting again", file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", metavar="SOURCE")
    parser.add_argument("--broker", required=True, metavar="URL", help="mqtt://HOST[:PORT], or mqtts:// for TLS")
    parser.add_argument("--user", help="its password is taken from the environment variable MQTT_PASSWORD")
    parser.add_argument("--name", default="Camera", help="of the device; another for each camera (default: %(default)s)")
    parser.add_argument("--model", default="default", help="see `edgepose models list` (default: %(default)s)")
    options = parser.parse_args(arguments)
    broker = urlsplit(options.broker)
    if "@" in options.broker:  # Where every user of the machine can read it.
        parser.error("--broker has a user or a password in it; expected --user, and the password in MQTT_PASSWORD")
    if not re.fullmatch(r"mqtts?://[^/:]+(:\d{1,4}|:[1-5]\d{4})?/?", options.broker):
        parser.error(f"--broker is {options.broker!r}; expected mqtt://HOST[:PORT] or mqtts://HOST[:PORT]")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # A service that is stopped says "offline", too.
    recent: deque[int] = deque(maxlen=FRAMES)
    fall, hand = Steady(FALL_S), Steady(HAND_S)
    with ExitStack() as stack:
        try:
            source = stack.enter_context(edgepose.open_source(options.source))
            if not source.is_timed:
                raise edgepose.SourceError(f"{source.name}: pictures; expected a camera, a stream or a video")
            estimator = edgepose.PoseEstimator(options.model)
            home = stack.enter_context(closing(HomeAssistant(broker, options.name, options.user)))
            for frame in stack.enter_context(closing(estimator.stream(source))):
                poses, now = frame.poses, frame.timestamp
                recent.append(len(poses))
                people = Counter(recent).most_common(1)[0][0]
                home.show(people, fall(bool(lying(poses).any()), now), hand(bool(hand_up(poses).any()), now))
        except edgepose.EdgePoseError as error:
            print(error, file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
