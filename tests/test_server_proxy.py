"""The server behind a proxy: under a path of its own, with TLS at the proxy, and behind a real nginx as the docs have it."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pictures
import pytest

import edgepose

pytest.importorskip("starlette", reason="the extra `serve` is not installed")

from serving import WAIT_S, Camera, Served, serving, until
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from edgepose.media.sources import open_source

TOKEN = "correct-horse"
RIGHT = {"Authorization": f"Bearer {TOKEN}"}
PHOTO = np.zeros((48, 64, 3), np.uint8)
DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE = Path(edgepose.__file__).parent / "server" / "page"


@pytest.fixture(scope="module")
def prefixed(tiny_estimator: edgepose.PoseEstimator) -> Iterator[Served]:
    camera = Camera()
    with serving(tiny_estimator, camera.open, token=TOKEN, proxy={"root_path": "/rooms/camera"}) as server:
        camera.show(PHOTO)
        until(lambda: server.inference is not None and server.inference.frames)
        yield server


@pytest.mark.parametrize("prefix", ["", "/rooms/camera"], ids=["cut off by the proxy", "left by the proxy"])
def test_all_addresses_are_under_the_prefix(prefixed, prefix):
    for path, status in [("/", 200), ("/app.js", 200), ("/poses", 200), ("/snapshot.jpg", 200), ("/nowhere", 404)]:
        assert prefixed.ask(prefix + path, headers=RIGHT)[0] == status
    assert prefixed.ask(f"{prefix}/healthz")[0] == 200
    assert prefixed.ask(f"{prefix}/style.css")[0] == 200
    assert prefixed.ask(f"{prefix}/app.js")[0] == 401
    with connect(f"ws://{prefixed.host}{prefix}/ws/poses", additional_headers=RIGHT) as client:
        assert json.loads(client.recv(WAIT_S))["frame"] == 0
    with pytest.raises(InvalidStatus), connect(f"ws://{prefixed.host}{prefix}/ws/poses"):
        pass


def test_the_prefix_is_no_part_of_other_names(prefixed):
    for path in ("/rooms/cameras", "/rooms/camera2/poses", "/rooms", "/camera/poses"):
        assert prefixed.ask(path, headers=RIGHT)[0] == 404


def test_the_prefix_alone_leads_to_the_page(prefixed):
    status, headers, _ = prefixed.ask("/rooms/camera", headers=RIGHT)
    assert (status, headers["location"]) == (308, "/rooms/camera/")


@pytest.mark.parametrize("prefix", ["", "/rooms/camera"])
def test_the_cookie_is_for_the_prefix_alone(prefixed, prefix):
    status, headers, _ = prefixed.ask(f"{prefix}/?token={TOKEN}")
    assert (status, headers["location"]) == (303, "/rooms/camera/")
    cookie, *attributes = headers["set-cookie"].split("; ")
    assert "Path=/rooms/camera" in attributes
    assert prefixed.ask(f"{prefix}/poses", headers={"Cookie": cookie})[0] == 200
    assert prefixed.ask(f"{prefix}/?token=wrong")[0] == 401


def test_the_page_has_relative_addresses_alone():
    for path in PAGE.iterdir():
        text = path.read_text("utf-8")
        assert re.findall(r"""(?:href|src|action)="/|(?:fetch|socket)\(["'`]/|url\(/|src = ["'`]/""", text) == [], path.name


NETWORKS = {
    "this machine": None,
    "another": [ipaddress.ip_network("192.0.2.0/24")],
    "every": [ipaddress.ip_network("0.0.0.0/0")],
}


@pytest.mark.parametrize(
    ("trusted", "forwarded", "is_secure"),
    [
        ("this machine", "https", True),
        ("this machine", "HTTPS , http", True),
        ("this machine", "http", False),
        ("this machine", "httpsx", False),
        ("this machine", None, False),
        ("another", "https", False),
        ("every", "https", True),
    ],
)
def test_the_cookie_is_secure_where_a_trusted_proxy_says_so(tiny_estimator, trusted, forwarded, is_secure):
    networks = NETWORKS[trusted]
    proxy: dict[str, Any] = {} if networks is None else {"trusted": networks}
    with serving(tiny_estimator, token=TOKEN, proxy=proxy) as server:
        headers = {} if forwarded is None else {"X-Forwarded-Proto": forwarded}
        cookie = server.ask(f"/?token={TOKEN}", headers=headers)[1]["set-cookie"]
        assert ("Secure" in cookie.split("; ")) == is_secure


# ---- A real nginx.


def nginx_lines() -> str:
    """The lines for nginx in docs/serve.md."""
    return re.findall(r"```nginx\n(.*?)```", (DOCS / "serve.md").read_text("utf-8"), re.DOTALL)[0]


@contextmanager
def behind_nginx(server: Served, folder: Path, *, websocket: bool = True) -> Iterator[str]:
    """The host and port of an nginx with the lines of the docs, in front of `server`."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip("no nginx here; apt-get install nginx")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    lines = nginx_lines().replace("127.0.0.1:8000", server.host)
    assert server.host in lines
    if not websocket:
        lines = re.sub(r"(?m)^.*(Upgrade|Connection).*\n", "", lines)
    user = "user root;" if os.name == "posix" and os.geteuid() == 0 else ""
    temporary = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    configuration = folder / "nginx.conf"
    configuration.write_text(
        f"{user} daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;\n"
        f"events {{}}\nhttp {{ access_log off; {temporary}\nserver {{ listen 127.0.0.1:{port};\n{lines}\n}} }}\n"
    )
    process = subprocess.Popen([program, "-c", str(configuration), "-e", str(folder / "error.log")])
    try:

        def answers() -> bool:
            assert process.poll() is None, (folder / "error.log").read_text()
            with socket.socket() as asking:
                return asking.connect_ex(("127.0.0.1", port)) == 0

        until(answers)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(WAIT_S)


@pytest.mark.slow
def test_behind_nginx_as_the_docs_have_it(tiny_estimator, tmp_path):
    video = pictures.write_video(tmp_path / "clip.avi", 20, fps=50)
    proxy = {"root_path": "/camera"}
    with (
        serving(tiny_estimator, partial(open_source, str(video)), loop=True, token=TOKEN, proxy=proxy) as server,
        behind_nginx(server, tmp_path) as host,
    ):
        port = int(host.rpartition(":")[2])
        seen = Served(port, None, server.site, server.server)
        status, headers, _ = seen.ask(f"/camera/?token={TOKEN}", headers={"Host": host})
        assert (status, headers["location"]) == (303, "/camera/")
        cookie = headers["set-cookie"].partition(";")[0]
        assert seen.ask("/camera/", headers={"Cookie": cookie})[0] == 200
        assert seen.ask("/camera/poses", headers=RIGHT)[0] == 200
        page = {"Cookie": cookie, "Origin": f"http://{host}"}
        with connect(f"ws://{host}/camera/ws/poses", additional_headers=page) as client:
            assert json.loads(client.recv(WAIT_S))["age"] < WAIT_S
        assert seen.ask("/camera/estimate", "POST", pictures.encode(".png", PHOTO), page)[0] == 200
        # The pictures of a stream come one by one, though it never ends.
        with socket.create_connection(("127.0.0.1", port), WAIT_S) as viewer:
            viewer.sendall(f"GET /camera/stream.mjpg HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\n\r\n".encode())
            data = b""
            while data.count(b"image/jpeg") < 4:
                piece = viewer.recv(1 << 16)
                assert piece
                data += piece
        until(lambda: server.site._clients.now.total() == 0)
