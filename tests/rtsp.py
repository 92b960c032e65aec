"""A camera that speaks RTSP on the loopback: H.264 over TCP (RFC 2326, RFC 6184), as fast as it is told to."""

from __future__ import annotations

import socketserver
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction

import av
from pictures import video_frame

SDP = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\nc=IN IP4 127.0.0.1\r\n"
    "a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\na=control:track0\r\n"
)


class Camera(socketserver.ThreadingTCPServer):
    """Sends a picture each `pause_s`, whose brightness tells its number; while `goes_on` is not set, it stalls.

    Attributes:
        sent: When each picture was sent, in seconds of the monotonic clock, by its number.
    """

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self, pause_s: float) -> None:
        super().__init__(("127.0.0.1", 0), _Session)
        self.pause_s = pause_s
        self.goes_on, self.ended = threading.Event(), threading.Event()
        self.goes_on.set()
        self.sent: dict[int, float] = {}

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self.server_address[1]}/live"


class _Session(socketserver.StreamRequestHandler):
    server: Camera

    def handle(self) -> None:
        with suppress(OSError):
            while request := self._request():
                method, number = request
                headers = "Session: 1\r\n"
                body = ""
                if method == "OPTIONS":
                    headers = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
                elif method == "DESCRIBE":
                    body, headers = SDP, f"Content-Type: application/sdp\r\nContent-Length: {len(SDP)}\r\n"
                elif method == "SETUP":
                    headers += "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
                self.wfile.write(f"RTSP/1.0 200 OK\r\nCSeq: {number}\r\n{headers}\r\n{body}".encode())
                if method == "PLAY":
                    self._play()
                    return

    def _request(self) -> tuple[str, str] | None:
        lines = []
        while (line := self.rfile.readline().decode().strip()) or not lines:
            lines.append(line)
            if not line:
                return None
        number = next((line.split(":")[1].strip() for line in lines if line.lower().startswith("cseq")), "0")
        return lines[0].split()[0], number

    def _play(self) -> None:
        encoder = av.CodecContext.create("libx264", "w")
        encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 128, 96, "yuv420p", Fraction(1, 90_000)
        encoder.options = {"tune": "zerolatency", "preset": "ultrafast", "g": "10"}
        encoder.thread_count = 1  # Each more would hold a frame back.
        sequence = 0
        for index in range(10_000):
            self.server.goes_on.wait(30)
            if self.server.ended.is_set():
                return
            frame = av.VideoFrame.from_ndarray(video_frame(index % 60), format="bgr24").reformat(format="yuv420p")
            frame.pts = round(index * self.server.pause_s * 90_000)
            self.server.sent[index] = time.monotonic()
            units = [unit for packet in encoder.encode(frame) for unit in _units(bytes(packet))]
            for unit in units:
                head = struct.pack(">BBHII", 0x80, 96 | 0x80 * (unit is units[-1]), sequence & 0xFFFF, frame.pts, 1)
                self.wfile.write(struct.pack(">cBH", b"$", 0, len(head) + len(unit)) + head + unit)
                sequence += 1
            time.sleep(self.server.pause_s)


def _units(data: bytes) -> list[bytes]:
    """The units of an H.264 stream, without the codes that begin them."""
    return [unit.rstrip(b"\0") for unit in data.split(b"\0\0\1") if unit.strip(b"\0")]


@contextmanager
def camera(pause_s: float = 0.03) -> Iterator[Camera]:
    """A camera, until the `with` statement is left."""
    with Camera(pause_s) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.ended.set()
            server.goes_on.set()
            server.shutdown()
            thread.join()
