"""Fetching model files: from a folder, and from a local server that serves, breaks off, lies and stalls."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from model_server import BIN, XML, Server

from edgepose.errors import DownloadError
from edgepose.zoo import download, registry
from edgepose.zoo.registry import ModelFile


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.gate.set()
        server.shutdown()
    thread.join()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The models folder: new, and not made before it is needed."""
    monkeypatch.setenv("EDGEPOSE_MODELS", str(tmp_path / "deep" / "models"))
    monkeypatch.delenv("EDGEPOSE_MIRROR", raising=False)
    monkeypatch.setattr(download, "_EMBEDDED", tmp_path / "embedded")
    return tmp_path / "deep" / "models"


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mirror folder that has the files."""
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "net.xml").write_bytes(XML)
    (tmp_path / "mirror" / "net.bin").write_bytes(BIN)
    monkeypatch.setenv("EDGEPOSE_MIRROR", str(tmp_path / "mirror"))
    return tmp_path / "mirror"


def model(base: str | None) -> registry.Model:
    """A model of two files that lie at the base URL."""
    files = tuple(
        ModelFile(name, f"{base}/{name}" if base else None, len(body), f"sha256:{hashlib.sha256(body).hexdigest()}")
        for name, body in (("net.xml", XML), ("net.bin", BIN))
    )
    return replace(registry.get("human-pose-estimation-0001"), name="net", files=files)


def changed(base: str, **changes: Any) -> registry.Model:
    """The same with one file, changed."""
    plain = model(base)
    return replace(plain, files=(replace(plain.files[0], **changes),))


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def refused(model: registry.Model, pattern: str) -> str:
    """The message of the error that fetching this model raises: one line that matches the pattern."""
    with pytest.raises(DownloadError, match=pattern) as caught:
        download.fetch(model)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_fetch_stores_all_files_and_returns_the_first(server: Server, folder: Path) -> None:
    wanted = model(f"{server.url}/good")
    assert download.find(wanted) is None
    assert download.fetch(wanted) == folder / "net.xml" == download.find(wanted)
    assert [(folder / name).read_bytes() for name in ("net.xml", "net.bin")] == [XML, BIN]
    assert visible(folder) == ["net.bin", "net.xml"]


def test_only_what_is_missing_or_cut_short_is_fetched(server: Server, folder: Path) -> None:
    wanted = model(f"{server.url}/good")
    for _ in range(2):
        download.fetch(wanted)
    assert server.requests == ["/good/net.xml", "/good/net.bin"]
    (folder / "net.bin").write_bytes(BIN[:-1])
    download.fetch(wanted)
    assert server.requests[2:] == ["/good/net.bin"]
    assert (folder / "net.bin").read_bytes() == BIN


def test_what_an_interrupted_process_left_is_overwritten(mirror: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "net.xml.part").write_bytes(b"stale" * len(XML))
    assert download.find(model(None)) is None
    assert download.fetch(model(None)).read_bytes() == XML
    assert visible(folder) == ["net.bin", "net.xml"]


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha256-prefix"])
def test_every_kind_of_checksum_is_compared(server: Server, algorithm: str) -> None:
    digits = hashlib.new(algorithm.removesuffix("-prefix"), XML).hexdigest()[: 8 if "prefix" in algorithm else None]
    download.fetch(changed(f"{server.url}/good", checksum=f"{algorithm}:{digits}"))
    wrong = changed(f"{server.url}/good", name="other.xml", checksum=f"{algorithm}:{digits[:-1]}x")
    refused(wrong, f"has {algorithm} {digits}, expected {digits[:-1]}x")


FAILURES = {
    "missing": "/missing/net.xml answers HTTP 404 Not Found",
    "busy": "/busy/net.xml answers HTTP 503 Service Unavailable",
    "truncated": r"/truncated/net.xml broke off \(.*IncompleteRead",
    "short": "/short/net.xml has 299999 bytes, expected 300000",
    "wrong": "/wrong/net.xml has sha256 [0-9a-f]{64}, expected [0-9a-f]{64}: it is another file, or damaged",
    "endless": "/endless/net.xml has more than the 300000 bytes expected",
    "stall": r"/stall/net.xml broke off \(.*timed out",
}


@pytest.mark.parametrize("how", FAILURES)
def test_what_a_server_does_wrong_is_told_and_leaves_no_file(
    server: Server, folder: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "READ_TIMEOUT_S", 0.2)
    told = refused(model(f"{server.url}/{how}"), f"^cannot fetch net.xml: {re.escape(server.url)}{FAILURES[how]}")
    assert told.endswith(f"put it into {folder} (EDGEPOSE_MODELS) or set EDGEPOSE_MIRROR to a folder or base URL that has it")
    assert visible(folder) == []


def test_a_file_of_unknown_size_is_cut_off_too(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    assert download.fetch(changed(f"{server.url}/good", size=None)).read_bytes() == XML
    monkeypatch.setattr(download, "MAX_BYTES", 1_000_000)
    refused(changed(f"{server.url}/endless", size=None, name="net.bin"), "has more than the 1000000 bytes expected")


def test_a_host_that_cannot_be_reached_is_named() -> None:
    with socket.socket() as taken:  # bound, but not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        refused(model(url), rf"cannot reach {url}/net.xml \(Connection refused\).*EDGEPOSE_MIRROR")


def test_a_file_without_a_checksum_is_not_downloaded(server: Server, folder: Path) -> None:
    wanted = replace(changed(f"{server.url}/good", checksum=None), conversion="python -m converters.net")
    message = refused(wanted, f"net.xml is not downloaded.*fetch {server.url}/good/net.xml by hand")
    assert "convert it (python -m converters.net) and give the model's path" in message
    assert (server.requests, folder.exists()) == ([], False)


def test_a_file_without_an_address_is_not_fetched() -> None:
    refused(model(None), "cannot fetch net.xml: it has no public address; without internet, put it into")
    refused(replace(model(None), files=()), "net has no files to fetch")


def test_embedded_models_come_first(tmp_path: Path, folder: Path) -> None:
    wanted = model(None)
    found = []
    for place in (folder, tmp_path / "embedded"):
        place.mkdir(parents=True)
        for name, body in (("net.xml", XML), ("net.bin", BIN)):
            (place / name).write_bytes(body)
            found.append(download.find(wanted))
    # Half a model does not count, and the package's own wins.
    assert found == [None, folder / "net.xml", folder / "net.xml", tmp_path / "embedded" / "net.xml"]
    assert download.fetch(wanted) == tmp_path / "embedded" / "net.xml"


def test_a_mirror_folder_spares_the_internet(server: Server, folder: Path, mirror: Path) -> None:
    assert download.fetch(model(f"{server.url}/good")) == folder / "net.xml"
    assert (folder / "net.xml").read_bytes() == XML
    assert server.requests == []


def test_a_mirror_may_be_an_address(server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPOSE_MIRROR", f"{server.url}/good/")
    assert download.fetch(model(f"{server.url}/missing")) == folder / "net.xml"
    assert server.requests == ["/good/net.xml", "/good/net.bin"]


@pytest.mark.parametrize("xml", [XML + b"x", XML[:-1], b"x" * len(XML), None], ids=["long", "short", "wrong", "none"])
def test_where_the_mirror_fails_the_public_address_helps(server: Server, mirror: Path, xml: bytes | None) -> None:
    (mirror / "net.xml").write_bytes(xml) if xml else (mirror / "net.xml").unlink()
    assert download.fetch(model(f"{server.url}/good")).read_bytes() == XML
    assert server.requests == ["/good/net.xml"]


def test_where_both_fail_both_are_named(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPOSE_MIRROR", str(tmp_path))
    both = rf"cannot read {re.escape(str(tmp_path))}/net.xml \(No such file or directory\); .*/missing/net.xml answers HTTP 404"
    refused(model(f"{server.url}/missing"), both)


def test_a_mirror_is_a_folder_or_http(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPOSE_MIRROR", "ftp://me:secret@example.org/models")
    message = refused(model(None), "EDGEPOSE_MIRROR is ftp://example.org/models, expected a folder or an http or https address")
    assert "secret" not in message


def test_a_password_in_the_mirror_is_not_told(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("EDGEPOSE_MIRROR", server.url.replace("://", "://me:secret@") + "/missing")
    assert "secret" not in refused(model(None), "/missing/net.xml answers HTTP 404")
    assert caplog.text == ""  # the error has said it
    download.fetch(model(f"{server.url}/good"))
    assert f"{server.url}/missing/net.xml answers HTTP 404 Not Found; took {server.url}/good/net.xml instead" in caplog.text
    assert "secret" not in caplog.text


def test_the_shared_mirror_has_the_small_model(shared: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPOSE_MIRROR", str(shared / "models"))
    assert download.fetch(registry.get("openpose-mobilenet-v2-small")) == folder / "openpose-mobilenet-v2-small.pb"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a file that is on a full disk")
def test_a_full_disk_is_told_and_leaves_no_file(server: Server, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "net.xml.part").symlink_to("/dev/full")
    message = refused(model(f"{server.url}/good"), rf"^cannot write to {re.escape(str(folder))} \(No space left on device\)")
    assert message.endswith("make room or permission there, or set EDGEPOSE_MODELS to another folder")
    assert visible(folder) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("EDGEPOSE_MODELS", str(tmp_path / "file" / "models"))
    refused(model(None), rf"^cannot write to {re.escape(str(tmp_path))}/file/models \(Not a directory\)")


def test_a_folder_without_permission_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> None:  # a mode does not stop root, as whom tests may run
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "mkdir", denied)
    refused(model(None), rf"^cannot write to {re.escape(str(folder))} \(Permission denied\)")


def test_ctrl_c_leaves_nothing_behind(mirror: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(path: Path) -> Iterator[bytes]:
        yield XML[:1000]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(download, "_from_folder", interrupted)
        with pytest.raises(KeyboardInterrupt):
            download.fetch(model(None))
    assert visible(folder) == []
    assert download.fetch(model(None)).read_bytes() == XML  # the lock is free again


@pytest.mark.parametrize(("terminal", "progress", "shows"), [(True, True, True), (True, False, False), (False, True, False)])
def test_progress_is_shown_on_a_terminal_if_asked_for(
    mirror: Path, monkeypatch: pytest.MonkeyPatch, terminal: bool, progress: bool, shows: bool
) -> None:
    stderr = io.StringIO()
    stderr.isatty = lambda: terminal  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", stderr)
    download.fetch(model(None), progress=progress)
    assert ("net.xml: 100%" in stderr.getvalue(), stderr.getvalue() != "") == (shows, shows)


def test_the_models_folder_is_the_chosen_one_or_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("EDGEPOSE_MODELS", "~/mine")
    assert download.models_dir() == tmp_path / "mine"
    monkeypatch.setenv("EDGEPOSE_MODELS", "")
    assert download.models_dir().parts[-2:] == ("edgepose", "models")


@pytest.mark.parametrize(
    "mirror",
    [
        "http://me:SEC@RET@127.0.0.1:1",
        "http://me:SECRET/@127.0.0.1:1",
        "http://127.0.0.1:1/files?token=SECRET",
        "ftp://me:SEC@RET@127.0.0.1",
        "http:/me:SECRET@127.0.0.1",
        "me:SECRET@127.0.0.1/files",
        "http://me:SECRET@",
        "http://me:SECRET@[127/",
        "http://me:SECRET@127.0.0.1:99999",
        "http://SECRET..example.invalid",
    ],
)
def test_no_secret_of_a_mirror_is_shown(mirror: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPOSE_MIRROR", mirror)
    monkeypatch.setenv("NO_PROXY", "*")
    with pytest.raises(DownloadError) as caught:
        download.fetch(model(None))
    text = "".join(traceback.format_exception(caught.value))
    assert "me:" not in text
    if "..example" not in mirror:
        assert not re.search("SEC|RET", text)


def test_a_mirror_that_redirects_shows_no_secret(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPOSE_MIRROR", f"{server.url}/redirect")
    with pytest.raises(DownloadError) as caught:
        download.fetch(model(None))
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("variable", ["EDGEPOSE_MIRROR", "EDGEPOSE_MODELS"])
def test_a_home_that_is_not_there_is_named(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "~nosuchuser/x")
    with pytest.raises(DownloadError, match=rf"{variable} is ~nosuchuser/x, and there is no home folder ~nosuchuser; give"):
        download.fetch(model(None))


FETCH = """
import sys
from edgepose.zoo import download, registry
model = registry.from_yaml("net", sys.argv[1], "argv")
print("ready", flush=True)
print(download.fetch(model).read_bytes() == b"<net/>" * 50_000)
"""


def start(model: registry.Model) -> Callable[[], str]:
    """Another process that is about to fetch the model; the function waits for what it says then."""
    process = subprocess.Popen([sys.executable, "-c", FETCH, registry.to_yaml(model)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return lambda: process.communicate(timeout=20)[0]


def test_of_two_processes_one_fetches_and_both_have_the_file(server: Server, folder: Path) -> None:
    wanted = changed(f"{server.url}/gated")
    first = start(wanted)
    assert server.asked.acquire(timeout=20)
    second = start(wanted)
    # The first is held up in mid-download, so a second that did not wait for it would ask now.
    assert not server.asked.acquire(timeout=0.5)
    server.gate.set()
    assert (first(), second()) == ("True\n", "True\n")
    assert server.requests == ["/gated/net.xml"]
    assert visible(folder) == ["net.xml"]
