"""Signals end a program once, and cleanly; those that are ignored stay so."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from edgepose.process import TWICE_S, ended_by_signals, fill_standard_streams

NAMES = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="signals are others on Windows")


def run(script: str) -> str:
    """The output of a script in a process of its own, because a signal reaches the whole process."""
    head = "import signal\nfrom edgepose.process import ended_by_signals\n"
    done = subprocess.run([sys.executable, "-c", head + script], check=True, capture_output=True, text=True)
    return done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_a_signal_ends_and_a_second_is_not_heard(name: str) -> None:
    script = (
        f"number, names = signal.{name}, {NAMES}\n"
        "signal.signal(number, signal.SIG_DFL)\n"
        "before = [signal.getsignal(getattr(signal, each)) for each in names]\n"
        "with ended_by_signals():\n"
        "    try:\n"
        "        signal.raise_signal(number)\n"
        "    except KeyboardInterrupt:\n"
        "        print('ended')\n"
        "    signal.raise_signal(number)\n"
        "    print('finished')\n"
        "print(before == [signal.getsignal(getattr(signal, each)) for each in names])"
    )
    assert run(script) == "ended\nfinished\nTrue\n"


def test_what_is_ignored_stays_ignored() -> None:
    script = (
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "with ended_by_signals():\n"
        "    signal.raise_signal(signal.SIGHUP)\n"
        "print('alive')"
    )
    assert run(script) == "alive\n"


def test_other_threads_leave_signals_alone() -> None:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            with ended_by_signals():
                pass
        except ValueError as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not failures


def test_open_streams_stay_as_they_are() -> None:
    before = [os.fstat(number).st_ino for number in range(3)]
    fill_standard_streams()
    assert [os.fstat(number).st_ino for number in range(3)] == before


def test_a_closed_stream_takes_no_other_file() -> None:
    script = (
        "import os; os.close(2)\n"
        "from edgepose.process import fill_standard_streams\n"
        "fill_standard_streams()\n"
        "file = open(os.devnull); print(file.fileno() > 2)"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout == "True\n"


def test_what_is_unused_seems_absent_for_a_while_and_is_there_again() -> None:
    script = (
        "import sys, types\n"
        "from edgepose import process\n"
        "sys.modules['taken'] = types.ModuleType('taken')\n"
        "process.UNUSED = ('taken', 'json.tool')\n"
        "with process.lean_imports():\n"
        "    import taken\n"
        "    try: import json.tool\n"
        "    except ImportError as error: print(error.name)\n"
        "import json.tool\n"
        "print(sys.modules['taken'] is taken)"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout == "json.tool\nTrue\n"


@pytest.mark.parametrize("collects", [True, False])
def test_no_garbage_is_looked_for_in_what_is_loaded(collects: bool) -> None:
    script = (
        "import gc, sys\n"
        "from edgepose.process import lean_imports\n"
        f"gc.{'enable' if collects else 'disable'}()\n"
        "try:\n"
        "    with lean_imports():\n"
        "        print(gc.isenabled())\n"
        "        import edgepose.poses\n"
        "        raise ImportError\n"
        "except ImportError: pass\n"
        "print(gc.isenabled(), gc.get_freeze_count() > 10_000, any(each is sys.modules for each in gc.get_objects()))"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout == f"False\n{collects} True False\n"


HANGING = """
import sys, time
from edgepose.process import ended_by_signals
with ended_by_signals():
    try:
        print("ready", flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        print("finishing", flush=True)
        until = time.monotonic() + 60
        while time.monotonic() < until:  # What is finished does not heed interruptions.
            time.sleep(0.01)
"""


@pytest.mark.slow
def test_a_later_second_ctrl_c_ends_at_once() -> None:
    head = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    with subprocess.Popen([sys.executable, "-c", head + HANGING], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "finishing\n"
        time.sleep(2 * TWICE_S)
        process.send_signal(signal.SIGTERM)  # Whoever stops a service may say so more than once.
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 130
