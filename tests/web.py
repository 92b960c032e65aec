"""A web server for tests: files with and without their length, and cameras that stall, die and come back."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from pictures import encode, video_frame


class Web(ThreadingHTTPServer):
    """Serves `files` by name, `/live`, a camera's MJPEG, and `/silent`, which accepts and says nothing.

    Attributes:
        files: Their contents by path; a path that begins with `/chunked` is sent without a length.
        frames: How many pictures the camera sends before it hangs up.
        pause_s: The time between two of them.
        goes_on: While it is not set, the camera stalls.
        asked: The paths that were asked for.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.files: dict[str, bytes] = {}
        self.frames, self.pause_s = 5, 0.0
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Web

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        with suppress(OSError):  # The client has gone.
            self._answer()

    def _answer(self) -> None:
        if self.path == "/silent":
            time.sleep(30)
            return
        data = self.server.files.get(self.path)
        if data is not None:
            self.send_response(200)
            if not self.path.startswith("/chunked"):
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        elif self.path == "/live":
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            for index in range(self.server.frames):
                self.server.goes_on.wait(30)
                picture = encode(".jpg", video_frame(index % 60))
                self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(picture))
                self.wfile.write(picture + b"\r\n")
                time.sleep(self.server.pause_s)
        else:
            self.send_error(404)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def web(port: int = 0) -> Iterator[Web]:
    """A server on the loopback, until the `with` statement is left."""
    with Web(port) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.goes_on.set()
            server.shutdown()
            thread.join()
