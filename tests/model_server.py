"""A server of two files of a model, for tests: it serves them, breaks off, lies and stalls, as it is asked to."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

XML = b"<net/>" * 50_000
BIN = bytes(range(256)) * 1_000


class Server(ThreadingHTTPServer):
    """Answers `/HOW/NAME` in the way that HOW says, and notes what it is asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.requests: list[str] = []
        self.asked = threading.Semaphore(0)
        self.gate = threading.Event()  # what `gated` and `stall` wait for


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        self.server.asked.release()
        how, name = self.path.strip("/").split("/")
        body = {"net.xml": XML, "net.bin": BIN}[name]
        if how == "redirect":
            self.send_response(302)
            self.send_header("Location", "http://u:SECRET@127.0.0.1:1/x?X-Amz-Signature=SECRET")
            self.end_headers()
            return
        if how == "gated":
            self.server.gate.wait(10)
        self.send_response(404 if how == "missing" else 503 if how == "busy" else 200)
        if how not in ("endless", "short"):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        half = body[: len(body) // 2]
        bodies = {"truncated": half, "stall": half, "short": body[:-1], "wrong": bytes(len(body))}
        try:
            self.wfile.write(bodies.get(how, body))
            for _ in range(500 if how == "endless" else 0):  # 32 MB: a test that fails should not fill the disk
                self.wfile.write(bytes(1 << 16))
        except ConnectionError:  # the client has had enough
            self.close_connection = True
        if how == "stall":
            self.server.gate.wait(10)

    def log_message(self, format: str, *args: object) -> None:
        pass
