"""demos/home_assistant.py against a real broker, mosquitto, on this machine."""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest
import tiny_models

import edgepose
from demos.home_assistant import HomeAssistant, main

mqtt = pytest.importorskip("paho.mqtt.client", reason="MQTT needs the extra mqtt")
MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(MOSQUITTO is None, reason="needs the broker mosquitto: apt-get install mosquitto"),
]
DEMO = Path(__file__).resolve().parents[1] / "demos" / "home_assistant.py"
STATE, AVAILABLE = "edgepose/edgepose_hall/state", "edgepose/edgepose_hall/availability"


class Broker:
    """A mosquitto of one's own, which can be stopped and started again."""

    def __init__(self, folder: Path, password: str | None = None) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"mqtt://127.0.0.1:{self.port}"
        self.folder = folder
        settings = [f"listener {self.port} 127.0.0.1", "persistence false", "log_dest none"]
        if password is None:
            settings.append("allow_anonymous true")
        else:
            users = folder / "users"
            subprocess.run(["mosquitto_passwd", "-b", "-c", str(users), "edgepose", password], check=True, capture_output=True)
            users.chmod(0o644)  # For the account that mosquitto changes to.
            folder.chmod(0o755)
            settings += ["allow_anonymous false", f"password_file {users}"]
        (folder / "mosquitto.conf").write_text("\n".join([*settings, f"user {os.environ.get('USER') or 'root'}"]) + "\n")
        self.start()

    def start(self) -> None:
        assert MOSQUITTO is not None
        self.process = subprocess.Popen([MOSQUITTO, "-c", str(self.folder / "mosquitto.conf")], stderr=subprocess.DEVNULL)
        until(self.answers)

    def answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        assert self.process.poll() is None, "mosquitto does not start"
        return False

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)


def until(so: Callable[[], object], patience_s: float = 60) -> None:
    deadline = time.monotonic() + patience_s
    while not so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path)
    yield broker
    broker.stop()


class Listener:
    """Somebody who hears all that is said, as Home Assistant does: the last message of each topic."""

    def __init__(self, broker: Broker, user: str | None = None, password: str | None = None) -> None:
        self.heard: dict[str, str] = {}
        self.said: queue.Queue[tuple[str, str]] = queue.Queue()
        self.client: Any = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        if user is not None:
            self.client.username_pw_set(user, password)
        self.client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self.client.on_message = self._hear
        self.client.reconnect_delay_set(1, 1)
        self.client.connect("127.0.0.1", broker.port)
        self.client.loop_start()

    def _hear(self, client: object, data: object, message: Any) -> None:
        self.heard[message.topic] = message.payload.decode()
        self.said.put((message.topic, message.payload.decode()))

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def test_what_home_assistant_is_told(broker: Broker) -> None:
    with closing(HomeAssistant(urlsplit(broker.url), "Hall", None)) as home:
        home.show(2, False, True)
        # Who connects later is told all the same, as after a restart of Home Assistant: everything is retained.
        with closing(Listener(broker)) as listener:
            until(lambda: len(listener.heard) == 5)
            assert listener.heard[AVAILABLE] == "online"
            assert json.loads(listener.heard[STATE]) == {"people": 2, "fall": "OFF", "hand": "ON"}
            kinds = {"people": "sensor", "fall": "binary_sensor", "hand": "binary_sensor"}
            for key, kind in kinds.items():
                entity = json.loads(listener.heard[f"homeassistant/{kind}/edgepose_hall/{key}/config"])
                assert entity["state_topic"] == STATE
                assert entity["availability_topic"] == AVAILABLE
                assert entity["unique_id"] == f"edgepose_hall_{key}"
                assert entity["value_template"] == f"{{{{ value_json.{key} }}}}"
                assert entity["device"]["identifiers"] == ["edgepose_hall"]
            home.show(2, True, False)
            until(lambda: json.loads(listener.heard[STATE])["fall"] == "ON")
            home.close()
            until(lambda: listener.heard[AVAILABLE] == "offline")


def test_a_state_that_stays_is_not_said_again_at_once(broker: Broker) -> None:
    with closing(Listener(broker)) as listener, closing(HomeAssistant(urlsplit(broker.url), "Hall", None)) as home:
        for people in (1, 1, 1, 2, 2):
            home.show(people, False, False)
        home.close()
        until(lambda: listener.heard.get(AVAILABLE) == "offline")
    assert sum(topic == STATE for topic, _ in listener.said.queue) == 2


def test_it_comes_back_with_its_broker(broker: Broker, capfd: pytest.CaptureFixture[str]) -> None:
    with closing(HomeAssistant(urlsplit(broker.url), "Hall", None)) as home:
        home.show(1, False, False)
        broker.stop()
        until(lambda: not home.client.is_connected())
        home.show(3, False, False)  # Nobody hears it, and nothing waits.
        broker.start()  # It has forgotten everything.
        with closing(Listener(broker)) as listener:
            until(lambda: len(listener.heard) == 5)
            assert json.loads(listener.heard[STATE])["people"] == 3
            assert listener.heard[AVAILABLE] == "online"
    assert "connecting again" in capfd.readouterr().err


def test_the_wrong_password_is_an_error_and_the_right_one_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Broker(tmp_path, password="right")
    try:
        for user, password in (("edgepose", "wrong"), (None, ""), ("edgepose", None)):
            monkeypatch.delenv("MQTT_PASSWORD", raising=False)
            if password is not None:
                monkeypatch.setenv("MQTT_PASSWORD", password)
            with pytest.raises(edgepose.EdgePoseError, match=r"refuses: .*MQTT_PASSWORD"):
                HomeAssistant(urlsplit(broker.url), "Hall", user)
        monkeypatch.setenv("MQTT_PASSWORD", "right")
        HomeAssistant(urlsplit(broker.url), "Hall", "edgepose").close()
    finally:
        broker.stop()


def test_names_make_different_topics(broker: Broker) -> None:
    ids = set()
    for name in ("Hall", "Front door", "Küche", "玄関", "居間"):
        with closing(HomeAssistant(urlsplit(broker.url), name, None)) as home:
            ids.add(home.id)
            assert all(part.isascii() and " " not in part for part in home.entities())
    assert len(ids) == 5


def video(path: Path, frames: int) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (96, 64))
    for _ in range(frames):
        writer.write(np.full((64, 96, 3), 128, np.uint8))
    writer.release()
    return path


def command(source: object, url: str, folder: Path) -> list[str]:
    model = tiny_models.save(folder)
    return [sys.executable, str(DEMO), str(source), "--broker", url, "--name", "Hall", "--model", str(model)]


def test_a_video_to_its_end(broker: Broker, tmp_path: Path) -> None:
    with closing(Listener(broker)) as listener:
        source = video(tmp_path / "clip.avi", 12)
        done = subprocess.run(command(source, broker.url, tmp_path), capture_output=True, text=True, timeout=300, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        until(lambda: listener.heard.get(AVAILABLE) == "offline")
        assert set(json.loads(listener.heard[STATE])) == {"people", "fall", "hand"}


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL], ids=["stop of a service", "power cut"])
def test_whatever_ends_it_it_is_offline_then(broker: Broker, tmp_path: Path, ending: signal.Signals) -> None:
    with closing(Listener(broker)) as listener:
        source = video(tmp_path / "long.avi", 20_000)
        with subprocess.Popen(command(source, broker.url, tmp_path), stderr=subprocess.PIPE, text=True) as process:
            until(lambda: STATE in listener.heard, 240)
            process.send_signal(ending)
            _, errors = process.communicate(timeout=60)
        assert errors == ""
        assert process.returncode == (0 if ending == signal.SIGTERM else -ending)
        until(lambda: listener.heard[AVAILABLE] == "offline")


def test_without_a_broker_it_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"mqtt://127.0.0.1:{free.getsockname()[1]}"
        arguments = command(video(tmp_path / "clip.avi", 2), url, tmp_path)[2:]
        assert main(arguments) == 1
    error = capsys.readouterr().err
    assert "cannot be reached" in error
    assert error.count("\n") == 1
