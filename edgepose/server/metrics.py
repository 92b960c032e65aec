"""What the server tells of itself at `/metrics`, in Prometheus' text format (version 0.0.4)."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# Quantiles are those of the last so many times.
RECENT = 512
QUANTILES = (0.5, 0.9, 0.99)
# read: waiting for a frame; estimate: from frame to people, decoding of the frame before included; publish: handing the
# result over to viewers; draw and encode: of the picture that viewers see; visitor: a visitor's picture, to its people.
STAGES = ("read", "estimate", "publish", "draw", "encode", "visitor")


class Stage:
    """Times that one stage took, in seconds."""

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self._recent: deque[float] = deque(maxlen=RECENT)

    def add(self, seconds: float) -> None:
        """Note that it took so long."""
        self.count += 1
        self.total += seconds
        self._recent.append(seconds)

    def quantiles(self) -> list[float]:
        """The `QUANTILES` of the last times; none before the first."""
        recent = list(self._recent)
        return [float(value) for value in np.quantile(recent, QUANTILES)] if recent else []


class Metrics:
    """Counters that the server fills while it runs. Each is written by one thread."""

    def __init__(self) -> None:
        self.frames = 0
        self.people = 0
        self.dropped = 0
        self.fps = 0.0
        self.running = False
        self.skipped: Counter[str] = Counter()  # Kind of client -> frames it was too slow for.
        self.refused: Counter[int] = Counter()  # HTTP status -> requests.
        self.stages = {name: Stage() for name in STAGES}

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Time what is done in the `with` statement."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.stages[stage].add(time.perf_counter() - started)

    def render(self, clients: Counter[str]) -> str:
        """The text, with `clients` by their kind."""
        lines: list[str] = []

        def family(name: str, kind: str, text: str, values: dict[str, float]) -> None:
            lines.extend((f"# HELP edgepose_{name} {text}", f"# TYPE edgepose_{name} {kind}"))
            lines.extend(f"edgepose_{name}{labels} {value:.9g}" for labels, value in values.items())

        family("up", "gauge", "Whether frames of the source are being looked at.", {"": self.running})
        family("fps", "gauge", "Frames of the source a second, over the last two seconds.", {"": self.fps})
        family("people", "gauge", "People in the newest frame.", {"": self.people})
        family("frames_total", "counter", "Frames of the source that were looked at.", {"": self.frames})
        family("frames_dropped_total", "counter", "Frames of a live source passed over for newer ones.", {"": self.dropped})
        kinds = ("mjpeg", "poses", "estimate")
        family("clients", "gauge", "Who is connected.", {f'{{kind="{kind}"}}': clients[kind] for kind in kinds})
        skipped = {f'{{kind="{kind}"}}': float(self.skipped[kind]) for kind in kinds[:2]}
        family("frames_skipped_total", "counter", "Frames that viewers were too slow for.", skipped)
        refused = {f'{{status="{status}"}}': float(count) for status, count in sorted(self.refused.items())}
        family("requests_refused_total", "counter", "Requests that were refused.", refused)
        times: dict[str, float] = {}
        for name, stage in self.stages.items():
            for quantile, value in zip(QUANTILES, stage.quantiles(), strict=False):
                times[f'{{stage="{name}",quantile="{quantile:g}"}}'] = value
            times[f'_sum{{stage="{name}"}}'] = stage.total
            times[f'_count{{stage="{name}"}}'] = stage.count
        family("stage_seconds", "summary", f"Time of each stage; quantiles over the last {RECENT}.", times)
        return "\n".join(lines) + "\n"
