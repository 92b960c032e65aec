from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pictures
import pytest
import tiny_models

from edgepose.cli.main import main
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
    assert (process.returncode, errors) == (0, "")


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
