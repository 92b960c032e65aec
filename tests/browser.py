"""Chromium without a window, driven over its DevTools protocol."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--remote-debugging-port=0", "--mute-audio",
    "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
)  # fmt: skip
START_S, WAIT_S = 60, 40


def find_chromium() -> str | None:
    """The browser's program, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class PageLeft(Exception):
    """The page that was asked is no longer there."""


class Browser:
    """One page of a browser."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._numbers = itertools.count(1)
        self._session: str | None = None
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.errors: list[str] = []
        self._call("Runtime.enable")
        self._call("Log.enable")
        self._call("Page.enable")

    def open(self, address: str) -> None:
        self._call("Page.navigate", url=address)

    def resize(self, width: int, height: int, *, phone: bool = False, dark: bool = False) -> None:
        self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=2 if phone else 1, mobile=phone
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression; a promise is waited for."""
        done = self._call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def wait_for(self, script: str) -> Any:
        """The value of an expression, once it is true; asked at every frame that the page paints."""
        ask = f"""new Promise((done, fail) => {{
            const end = performance.now() + {1000 * WAIT_S};
            const ask = () => {{
                const value = (() => {{ try {{ return {script}; }} catch (e) {{ return null; }} }})();
                if (value) done(value);
                else if (performance.now() > end) fail(new Error("never came: " + document.body.innerText.slice(0, 300)));
                else setTimeout(ask, 20);
            }};
            ask();
        }})"""
        try:
            return self.run(ask)
        except PageLeft:  # Then the next page is asked.
            return self.run(ask)

    def picture(self) -> bytes:
        """What the page looks like, as a PNG."""
        return base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"])

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        self._connection.send(json.dumps(message))
        while True:
            answer = json.loads(self._connection.recv(WAIT_S + 20))
            if answer.get("method") == "Runtime.exceptionThrown":
                self.errors.append(str(answer["params"]["exceptionDetails"]))
            elif answer.get("method") == "Log.entryAdded" and answer["params"]["entry"]["level"] == "error":
                self.errors.append(str(answer["params"]["entry"]))
            if answer.get("id") == number:
                if "navigated" in str(answer.get("error")) or "context was destroyed" in str(answer.get("error")):
                    raise PageLeft
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result


@contextmanager
def browsing(program: str, webcam: Path | None = None) -> Iterator[Browser]:
    """A browser with a profile of its own; `webcam` is a .mjpeg or .y4m file that its camera shows."""
    # Its socket's path has to be short, and it may still write into the folder while it ends.
    with tempfile.TemporaryDirectory(prefix="page-", ignore_cleanup_errors=True) as profile:
        flags = [*FLAGS, f"--user-data-dir={profile}"]
        if webcam is not None:
            flags.append(f"--use-file-for-fake-video-capture={webcam}")
        process = subprocess.Popen(
            [program, *flags, "about:blank"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True, env={**os.environ, "HOME": profile}, start_new_session=True,
        )  # fmt: skip
        try:
            assert process.stderr is not None
            ended = time.monotonic() + START_S
            address = ""
            for line in process.stderr:
                if "DevTools listening on " in line:
                    address = line.partition("listening on ")[2].strip()
                    break
                assert time.monotonic() < ended
            assert address, "the browser did not start"
            # Nobody reads the rest, which must not fill the pipe: it goes nowhere.
            drain = subprocess.Popen(
                [sys.executable, "-c", "import sys; sys.stdin.buffer.read()"], stdin=process.stderr, stdout=subprocess.DEVNULL
            )
            process.stderr.close()
            with connect(address, max_size=None, compression=None) as connection:
                browser = Browser(connection)
                yield browser
                connection.send(json.dumps({"id": 0, "method": "Browser.close"}))
            process.wait(WAIT_S)
            drain.wait(WAIT_S)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait(WAIT_S)
