"""The process of a program: standard streams that exist, clean ends by signals, and lean imports."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

# Modules that Numba and OpenVINO import wherever they are installed, and that no command uses: linear algebra for kernels (15
# MB and 0.1 s), and the converter of models (5 MB and 20 ms).
UNUSED = ("scipy.linalg", "openvino.tools.ovc")

# A signal that comes again within this time, in seconds, is the same one: faster than a person who waits and loses patience.
TWICE_S = 0.4


def fill_standard_streams() -> None:
    """Open /dev/null for those of the standard streams that are closed (`2>&-`).

    The next file that is opened would get the number, and a library's messages would go into the results.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (until the program ends)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let a service that is stopped (SIGTERM), and a terminal that is closed (SIGHUP), end as cleanly as Ctrl-C does.

    A terminal that goes away sends its signal twice, and the second must not cut short what the first one set off, the files
    being finished. A Ctrl-C after that is a user's who does not want to wait: it ends the process at once.
    """
    ended_at: float | None = None
    if threading.current_thread() is not threading.main_thread():  # No other may set handlers.
        yield
        return

    def end(number: int, _: object) -> None:
        nonlocal ended_at
        if ended_at is None:
            ended_at = time.monotonic()
            raise KeyboardInterrupt
        if number == signal.SIGINT and time.monotonic() - ended_at > TWICE_S:
            os._exit(128 + number)

    # By way of SIGTERM, for which a server has a handler of its own.
    handlers = {"SIGINT": end, "SIGTERM": end, "SIGHUP": lambda *_: signal.raise_signal(signal.SIGTERM)}
    before: dict[int, Any] = {}
    for name, handler in handlers.items():
        number = getattr(signal, name, None)  # Windows has no SIGHUP.
        # One that is ignored stays so: nohup, and shells that run something in the background, mean it.
        if number is not None and signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave(status: int) -> None:
    """End the program now if a thread is still held up, by a camera or a server that does not answer; otherwise do nothing.

    Python's own end takes down what such a thread still uses, which crashes now and then.
    """
    if any(thread.name.startswith("edgepose-") for thread in threading.enumerate()):
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):  # Closed, full, or not there.
                stream.flush()
        os._exit(status)


@contextmanager
def lean_imports() -> Iterator[None]:
    """Import less, and faster: what is `UNUSED` seems not to be installed, and no garbage is looked for in what is loaded.

    For programs alone: Numba and OpenVINO do without the unused modules for as long as the process lives, unless those were
    imported before; and reference cycles among the objects that are there by now are never freed.
    """
    absent = [name for name in UNUSED if name not in sys.modules]
    # None in sys.modules is Python's own way to say that there is no such module: the import raises ModuleNotFoundError.
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        for name in absent:
            sys.modules.pop(name, None)
        # Modules live until the end. Collections would visit their 160,000 objects again and again, and once more at the end.
        gc.freeze()
        if collects:
            gc.enable()
