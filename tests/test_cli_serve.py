from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
import pictures
import pytest
import tiny_models

from edgepose.cli.main import main
from edgepose.cli.serve import path as root_path
from edgepose.media.images import read_image

pytest.importorskip("starlette", reason="the extra `serve` is not installed")

# Where the tests run in the background, Ctrl-C is ignored, and would be in the command, too.
SCRIPT = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); from edgepose.cli.main import main; "


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_models.save(tmp_path_factory.mktemp("model")))


@contextmanager
def command(*arguments: object, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`edgepose serve`, and the address that it prints."""
    line = [sys.executable, "-c", SCRIPT + "sys.exit(main(sys.argv[1:]))", "serve", *map(str, arguments), "--port", "0"]
    process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment})
    try:
        assert process.stderr is not None
        first = process.stderr.readline()
        found = re.fullmatch(r"edgepose: (http://\S+) \(Ctrl-C ends\)\n", first)
        assert found, first + process.stderr.read()
        yield process, found[1]
    finally:
        process.kill()
        process.communicate()


def ask(address: str, path: str, **headers: str) -> tuple[int, bytes]:
    port = int(re.findall(r":(\d+)/", address)[0])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "stop of a service"])
def test_serves_a_video_until_it_is_told_to_end(model, tmp_path, ending):
    video = pictures.write_video(tmp_path / "clip.avi", 30)
    with command(video, "--model", model, "--loop", "--track") as (process, address):
        assert address.startswith("http://127.0.0.1:")
        assert ask(address, "/healthz") == (200, b'{"status":"running"}')
        process.send_signal(ending)
        _, errors = process.communicate(timeout=30)
    # The tiny network may say of a frame that it is noise.
    assert (process.returncode, [line for line in errors.splitlines() if "noise" not in line]) == (0, [])


@contextmanager
def silent_server(answer: bytes) -> Iterator[str]:
    """The address of a web server that sends `answer` and then nothing more, with the connection open."""
    kept = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    kept.append(listening.accept()[0])
                    kept[-1].sendall(answer)

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/live.mjpg"
        finally:
            for connection in kept:
                connection.close()


def mjpeg(frames: int) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=x\r\n\r\n"
    image = pictures.encode(".jpg", np.zeros((96, 128, 3), np.uint8))
    part = b"--x\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b\r\n" % (len(image), image)
    return head + part * frames


def ends_within_2_s(process: subprocess.Popen[str], ending: signal.Signals) -> None:
    began = time.monotonic()
    process.send_signal(ending)
    process.communicate(timeout=30)
    assert time.monotonic() - began < 2


BOTH = pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "stop of a service"])


@pytest.mark.slow
@BOTH
def test_it_ends_while_a_read_is_blocked(model, ending):
    with silent_server(mjpeg(40)) as source, command(source, "--model", model) as (process, _):
        time.sleep(1)
        ends_within_2_s(process, ending)
    assert process.returncode == 0


@pytest.mark.slow
@BOTH
def test_it_ends_while_an_open_is_blocked(model, ending):
    with silent_server(b"") as source:
        line = [sys.executable, "-c", SCRIPT + "sys.exit(main(sys.argv[1:]))", "serve", source, "--model", model, "--port", "0"]
        process = subprocess.Popen([*line[:2], BLOCKED + line[2], *line[3:]], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "opening\n"
        time.sleep(0.3)
        ends_within_2_s(process, ending)
    assert process.returncode == 130


# A camera whose driver does not come back from C, which no exception interrupts.
BLOCKED = """
import time, edgepose.media.sources as sources
def open_source(*_, **__):
    print("opening", flush=True)
    time.sleep(30)
sources.open_source = open_source
"""


@pytest.mark.slow
@BOTH
def test_it_ends_while_viewers_are_slow_and_uploads_come(model, tmp_path, ending):
    video = pictures.write_video(tmp_path / "clip.avi", 30)
    with command(video, "--model", model, "--loop") as (process, address), ExitStack() as stack:
        port = int(re.findall(r":(\d+)/", address)[0])
        for head in (
            "GET /stream.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n",
            "POST /estimate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nab",
            "GET / HTTP/1.1\r\nHost: loc",
            "GET /ws/poses HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        ):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", port))
            client.sendall(head.encode())
        time.sleep(1)
        ends_within_2_s(process, ending)
    assert process.returncode == 0


def test_pictures_for_viewers_are_as_small_as_is_said(model, tmp_path):
    video = pictures.write_video(tmp_path / "clip.avi", 10)
    with command(video, "--model", model, "--stream-height", 50, "--stream-fps", 100) as (_, address):
        status, stream = ask(address, "/stream.mjpg")  # It ends with the video.
    head, _, rest = stream.partition(b"\r\n\r\n")
    length = int(re.findall(rb"Content-Length: (\d+)", head)[0])
    assert (status, read_image(rest[:length]).shape) == (200, (48, 64, 3))


def test_all_addresses_demand_a_token(model):
    with command("--host", "0.0.0.0", "--model", model) as (_, address):
        page, _, token = address.partition("?token=")
        assert len(token) >= 20
        assert page.startswith("http://")
        assert ask(address, "/info")[0] == 401
        assert ask(address, "/info", Authorization=f"Bearer {token}")[0] == 200


def test_all_addresses_are_named_by_the_ip_too(model):
    with command("--host", "0.0.0.0", "--model", model) as (process, address):
        assert process.stderr is not None
        other = re.fullmatch(r"edgepose: or http://([0-9.]+):(\d+)/(\?token=\S+)\n", process.stderr.readline())
        assert other is not None
        assert address.endswith(f":{other[2]}/{other[3]}")
        with socket.create_connection((other[1], int(other[2])), 20):
            pass


@pytest.mark.parametrize(
    ("given", "path"),
    [("", ""), ("/", ""), ("camera", "/camera"), ("/camera/", "/camera"), ("/a/b", "/a/b")],
)
def test_the_path_of_a_proxy(given, path):
    assert root_path(given) == path


@pytest.mark.parametrize(
    "option",
    [["--root-path", "http://x/?a"], ["--root-path", "/a b"], ["--forwarded-allow-ips", "somewhere"]],
    ids=" ".join,
)
def test_wrong_words_about_a_proxy(model, capsys, option):
    with pytest.raises(SystemExit):
        main(["serve", "--model", model, *option])
    assert "expected" in capsys.readouterr().err


def test_a_token_from_the_environment(model):
    with command("--model", model, EDGEPOSE_TOKEN="correct-horse") as (_, address):
        assert address.endswith("/?token=correct-horse")
        status, body = ask(address, "/info", Authorization="Bearer correct-horse")
        assert (status, json.loads(body)["source"]) == (200, None)


FAILURES = [
    (["nowhere.mp4"], "no such file"),
    (["--token", "short"], "expected 8 or more"),
    (["--token", ""], "has 0 characters"),
    (["--token", "with a space in it"], "without spaces"),
    (["--host", "no such host"], "cannot listen on"),
    (["--host", "192.0.2.1"], "cannot listen on 192.0.2.1"),
    (["--port", "99999"], "expected 0 to 65535"),
]


@pytest.mark.parametrize(("arguments", "message"), FAILURES, ids=[" ".join(row[0]) for row in FAILURES])
def test_what_cannot_be_served(model, capsys, arguments, message):
    port = [] if "--port" in arguments else ["--port", "0"]
    assert main(["serve", *arguments, "--model", model, *port]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_port_that_is_taken(model, capsys):
    with command("--model", model) as (_, address):
        port = re.findall(r":(\d+)/", address)[0]
        assert main(["serve", "--model", model, "--port", port]) == 1
    assert "in use" in capsys.readouterr().err


def test_without_the_extra(monkeypatch, capsys):
    for name in list(sys.modules):
        if name.startswith(("edgepose.server.", "starlette")) and name != "edgepose.cli.serve":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "starlette", None)
    assert main(["serve"]) == 1
    assert 'pip install "edgepose[serve]"' in capsys.readouterr().err


def test_the_other_commands_do_not_load_the_server(model, tmp_path):
    script = "import sys; from edgepose.cli.main import main; main(['models', 'path']); print(*sys.modules)"
    environment = {**os.environ, "EDGEPOSE_MODELS": str(Path(tmp_path))}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert not {"starlette", "uvicorn", "anyio"} & set(done.stdout.split())


BOUND = """
import sys
import numpy as np
from edgepose.cli.main import main
assert main(["serve", "--port", "99999"]) == 1  # When all that it needs is imported.
import cv2
from edgepose.media.images import MAX_PIXELS
assert MAX_PIXELS == 25_000_000
data = cv2.imencode(".png", np.zeros((5001, 5000), np.uint8))[1]
try:
    cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
except cv2.error:
    sys.exit(0)
sys.exit("decoded")
"""


def test_opencv_decodes_no_more_than_an_upload_may_have():
    """Whatever the parsers of headers have let through."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENCV_")}
    run = subprocess.run(
        [sys.executable, "-c", BOUND], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 0, run.stderr
    assert "port is 99999" in run.stderr
