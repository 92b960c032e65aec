"""The counters, gauges and histograms that the server shows at `/metrics`, in the text format of Prometheus."""

from __future__ import annotations

from collections import Counter as Tally
from contextlib import AbstractContextManager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# read: waiting for a frame; estimate: from frame to people, decoding of the frame before included; publish: handing the
# result over to viewers; draw and encode: of the picture that viewers see; visitor: a visitor's picture, to its people.
STAGES = ("read", "estimate", "publish", "draw", "encode", "visitor")
# Upper bounds in seconds, from an encoded thumbnail to a large network on a small computer.
BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
# Clients: of the picture, of the poses, and with a webcam of their own.
KINDS = ("mjpeg", "poses", "estimate")


class Metrics:
    """The metrics of one server, in a registry of their own. The attributes may be changed from any thread."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self.up = Gauge("edgepose_up", "Whether frames of the source come.", registry=r)
        self.fps = Gauge("edgepose_fps", "Frames of the source a second, over the last two seconds.", registry=r)
        self.age = Gauge("edgepose_age_seconds", "Time since the newest frame came.", registry=r)
        self.people = Gauge("edgepose_people", "People in the newest frame.", registry=r)
        self.frames = Counter("edgepose_frames", "Frames of the source that were looked at.", registry=r)
        self.dropped = Counter("edgepose_frames_dropped", "Frames of a live source passed over for newer ones.", registry=r)
        self.skipped = Counter("edgepose_frames_skipped", "Frames that viewers were too slow for.", ["kind"], registry=r)
        self.refused = Counter("edgepose_requests_refused", "Requests that were refused.", ["status"], registry=r)
        self._clients = Gauge("edgepose_clients", "Clients that are connected.", ["kind"], registry=r)
        seconds = Histogram("edgepose_stage_seconds", "Time that each stage took.", ["stage"], registry=r, buckets=BUCKETS)
        self.stages = {name: seconds.labels(name) for name in STAGES}
        for kind in KINDS[:2]:
            self.skipped.labels(kind)  # Shown from the start, as 0.

    def timed(self, stage: str) -> AbstractContextManager[object]:
        """Time what is done in the `with` statement."""
        return self.stages[stage].time()

    def text(self, clients: Tally[str]) -> bytes:
        """All of it as text, with the number of `clients` of each kind."""
        for kind in KINDS:
            self._clients.labels(kind).set(clients[kind])
        return generate_latest(self.registry)
