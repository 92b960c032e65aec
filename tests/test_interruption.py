"""Ctrl-C, SIGTERM and `close` while a server says nothing: everything ends within two seconds, whatever is waited for."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pictures import encode, video_frame

MOST_S = 2.0

PROGRAM = """
import sys, time
print("ready", flush=True)
from edgepose.media.sources import open_source
from edgepose.process import ended_by_signals, leave
with ended_by_signals():
    try:
        print("opening", flush=True)
        with open_source(sys.argv[1]) as source:
            for frame in source:
                print("frame", flush=True)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
leave(0)
"""


@contextmanager
def silent(answer: bytes) -> Iterator[tuple[int, threading.Event]]:
    """A server that sends `answer`, then nothing, but stays connected: its port, and an event, set when it has answered."""
    ended, answered = threading.Event(), threading.Event()

    def serve() -> None:
        connections = []
        listener.settimeout(0.05)
        while not ended.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            connections.append(connection)
            connection.sendall(answer)
            answered.set()
        for connection in connections:
            connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1], answered
        finally:
            ended.set()
            thread.join()


def mjpeg(count: int) -> bytes:
    """The beginning of a camera's answer, with so many pictures in it."""
    picture = encode(".jpg", video_frame(0))
    part = b"--f\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(picture)
    head = b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=f\r\n\r\n"
    return head + (part + picture + b"\r\n") * count


STATES = {
    "no answer": ("http", b""),
    "no answer to RTSP": ("rtsp", b""),
    "half a header": ("http", b"HTTP/1.0 200 OK\r\nContent-Ty"),
    "half a video": ("http", b"HTTP/1.0 200 OK\r\nContent-Length: 1000000\r\n\r\n" + bytes(1000)),
    "no more pictures": ("http", mjpeg(30)),
}


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM], ids=lambda sent: sent.name)
@pytest.mark.parametrize("state", STATES)
def test_a_signal_ends_every_wait(state: str, sent: signal.Signals) -> None:
    scheme, answer = STATES[state]
    with (
        silent(answer) as (port, answered),
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, f"{scheme}://127.0.0.1:{port}/live"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        assert process.stderr is not None
        expected = ["ready", "opening", *(["frame"] if answer == mjpeg(30) else [])]
        assert [process.stdout.readline().strip() for _ in expected] == expected
        assert answered.wait(60)  # Not while modules are imported, which a signal leaves half done.
        time.sleep(1.0 if state == "no more pictures" else 0.5)  # Until it waits.
        began = time.monotonic()
        process.send_signal(sent)
        process.wait(20)
        assert time.monotonic() - began < MOST_S
        assert process.stdout.read().splitlines()[-1] == "interrupted"
        assert process.stderr.read() == ""
        assert process.returncode == 0
