"""The cost of viewers and of hostile requests for `edgepose serve`, on loopback, with viewers in a process of their own.

    python benchmarks/serve.py VIDEO [--viewers 20] [--seconds 30] [--model M] [--height H] [--paced] [--json PATH]

The server looks at the video as fast as it goes, over and over (with `--paced`, at the video's own rate, as of a camera). In
turns of a few seconds nobody watches, one viewer does, and `--viewers` MJPEG viewers and as many WebSocket clients do; the rate
is that of the server's own count of frames. Then come 500 hostile requests while a stream is read. Viewers run on the same
cores, so that what they cost themselves counts, too.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import select
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# Short turns, and figures compared within each, so that whatever else the machine does meets all alike.
TURNS = 20
SETTLE_S = 0.5
# Of viewers, which are to cost as little as they can: somebody else's processor does their work in earnest.
READ_EVERY_S = 0.05
HANDSHAKE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)


@contextmanager
def served(options: argparse.Namespace) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """`edgepose serve`, and its port."""
    command = [
        sys.executable,
        "-m",
        "edgepose",
        "serve",
        options.video,
        "--loop",
        "--port",
        "0",
        "--model",
        options.model,
    ]
    command += [] if options.paced else ["--no-pace"]
    command += [] if options.height is None else ["--height", str(options.height)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.search(r":(\d+)/", line)
        if found is None:
            raise SystemExit(line)
        yield int(found[1]), process
    finally:
        process.terminate()
        process.communicate()


def metrics(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        rows = [line.rpartition(" ") for line in answer.read().decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in rows}


def memory_mb(pid: int, what: str) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(rf"{what}:\s+(\d+)", text)[0]) / 1024


def watch(port: int, pictures: int, sockets: int) -> None:
    """Read what comes and throw it away, as cheaply as viewers can: all in one thread, twenty times a second."""
    waiting = select.epoll()
    connections = {}
    for path in ["/stream.mjpg"] * pictures + ["/ws/poses"] * sockets:
        connection = socket.create_connection(("127.0.0.1", port))
        upgrade = HANDSHAKE if path.startswith("/ws") else ""
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{upgrade}\r\n".encode())
        waiting.register(connection, select.EPOLLIN)
        connections[connection.fileno()] = connection
    buffer = bytearray(1 << 20)
    while True:
        time.sleep(READ_EVERY_S)
        for number, _ in waiting.poll(0):
            if not connections[number].recv_into(buffer):
                raise SystemExit("the server is gone")


@contextmanager
def viewers(port: int, pictures: int, sockets: int) -> Iterator[int]:
    """So many viewers, in a process of their own; its number."""
    process = subprocess.Popen([sys.executable, __file__, "--watch", str(port), str(pictures), str(sockets)])
    try:
        until = time.monotonic() + 20
        while time.monotonic() < until:
            now = metrics(port)
            if (now['edgepose_clients{kind="mjpeg"}'], now['edgepose_clients{kind="poses"}']) == (pictures, sockets):
                break
            time.sleep(0.2)
        else:
            raise SystemExit("the viewers did not come in")
        yield process.pid
    finally:
        process.kill()
        process.wait()


def cpu_s(pid: int) -> float:
    """Processor seconds that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rate(port: int, pid: int, seconds: float, watching: int | None = None) -> tuple[float, float, float]:
    """Frames a second of the pipeline, processor milliseconds that the server needs for one, all of its work included, and
    processor milliseconds a second that the viewers, process `watching`, need themselves.
    """
    time.sleep(SETTLE_S)

    def now() -> tuple[float, float, float, float]:
        viewing = 0.0 if watching is None else cpu_s(watching)
        return time.perf_counter(), metrics(port)["edgepose_frames_total"], cpu_s(pid), viewing

    before = now()
    time.sleep(seconds)
    while (after := now())[1] == before[1]:  # On a busy machine, a frame may take longer than a turn.
        time.sleep(SETTLE_S)
    passed, frames, server, viewing = (last - first for last, first in zip(after, before, strict=True))
    return frames / passed, 1000 * server / frames, 1000 * viewing / passed


def ask(port: int, number: int, data: bytes) -> str:
    """The status that comes back for `data`; "closed" where the connection ends without one."""
    # From many addresses, so that it is not the rate of requests alone that refuses them.
    source = f"127.0.{1 + number // 200}.{1 + number % 200}"
    with socket.create_connection(("127.0.0.1", port), 60, source_address=(source, 0)) as connection:
        with suppress(OSError):  # It may refuse before it has all; what it says is there to be read.
            connection.sendall(data)
        try:
            answer = connection.recv(4096)
        except ConnectionResetError:
            answer = b""
    return answer.split()[1].decode() if answer.startswith(b"HTTP/") else "closed"


def hostile(port: int, count: int) -> Counter[tuple[str, str, str]]:
    """(what, expected, got) of so many requests that are to be refused; slow ones wait in threads of their own."""
    png = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(">II", 60_000, 60_000) + b"\x08\x02\x00\x00\x00" + bytes(99)

    def post(body: bytes, length: int | None = None, kind: str = "image/png") -> bytes:
        size = len(body) if length is None else length
        head = f"POST /estimate HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {size}\r\n\r\n"
        return head.encode() + body

    def get(path: str, headers: str = "Host: localhost\r\n") -> bytes:
        return f"GET {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n".encode()

    form = "multipart/form-data; boundary=x"
    kinds = [
        ("a length beyond the limit", "413", post(b"", 10**12)),
        ("21 MB", "413", post(bytes(21 << 20))),
        ("a bomb of pixels", "413", post(png)),
        ("noise", "415", post(os.urandom(4000))),
        ("a picture cut short", "400", post(png[:12])),
        ("a damaged form", "400", post(b"hello", kind=form)),
        ("a path to files", "404", get("/../../etc/passwd")),
        ("a name by rebinding", "421", get("/poses", "Host: evil.example\r\n")),
        (
            "a socket from another site",
            "403",
            get("/ws/poses", f"Host: localhost\r\nOrigin: http://evil.example\r\n{HANDSHAKE}"),
        ),
        ("a picture for another site", "403", get("/snapshot.jpg", "Host: localhost\r\nSec-Fetch-Site: cross-site\r\n")),
        ("no HTTP", "400", bytes(range(256)) * 10),
        ("an endless head", "400", b"GET / HTTP/1.1\r\nHost: localhost\r\nA: " + b"a" * 200_000),
        ("a wrong method", "405", get("/estimate")),
        ("a head that dribbles", "closed", b"GET / HTTP/1.1\r\nHo"),
        ("a body that dribbles", "408 or 503", post(b"abc", 1000)),  # 503: others dribble already.
    ]
    results: Counter[tuple[str, str, str]] = Counter()

    def one(number: int) -> None:
        what, expected, data = kinds[number % len(kinds)]
        results[(what, expected, ask(port, number, data))] += 1

    # Those that dribble come last and all at once: they hold every place there is for uploads.
    slow = [number for number in range(count) if "dribbles" in kinds[number % len(kinds)][0]]
    for number in sorted(set(range(count)) - set(slow)):
        one(number)
    threads = [threading.Thread(target=one, args=(number,)) for number in slow]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video")
    parser.add_argument("--viewers", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=30.0, help="of watching, in all")
    parser.add_argument("--hostile", type=int, default=500)
    parser.add_argument("--model", default="default")
    parser.add_argument("--height", type=int)
    parser.add_argument("--paced", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    from edgepose.doctor import processor  # Here, because viewers are started sixty times, and need none of it.

    crowds = [(0, 0), (1, 0), (options.viewers, options.viewers)]
    rates: dict[str, list[tuple[float, float, float]]] = {}
    memories: list[float] = []
    with served(options) as (port, process):
        rate(port, process.pid, 2)
        for turn in range(TURNS):
            print(f"turn {turn + 1} of {TURNS}", end="\r", file=sys.stderr, flush=True)
            for pictures, sockets in crowds:
                with viewers(port, pictures, sockets) as watching:
                    measured = rate(port, process.pid, options.seconds / TURNS, watching)
                    rates.setdefault(f"{pictures} + {sockets}", []).append(measured)
                    memories.append(memory_mb(process.pid, "VmRSS"))
        stages = metrics(port)
        with viewers(port, 1, 1):
            before = metrics(port)
            began = time.perf_counter()
            results = hostile(port, options.hostile)
            seconds = time.perf_counter() - began
            after = metrics(port)
        peak = memory_mb(process.pid, "VmHWM")

    print(f"{options.model}, {Path(options.video).name}, {'paced' if options.paced else 'as fast as it goes'}, {processor()}\n")
    print(
        "| MJPEG + WebSocket viewers | frames a second | of none | processor ms a frame | of none | viewers' own, ms a second |"
    )
    print("|---|---|---|---|---|---|")
    alone = rates["0 + 0"]
    for name, values in rates.items():
        fps, cost, viewing = (statistics.median(column) for column in zip(*values, strict=True))
        pairs = list(zip(values, alone, strict=True))
        fps_ratio, cost_ratio = (statistics.median(value[i] / none[i] for value, none in pairs) for i in (0, 1))
        print(f"| {name} | {fps:.1f} | {100 * fps_ratio:.1f} % | {cost:.1f} | {100 * cost_ratio:.1f} % | {viewing:.0f} |")
    means = {}
    for name in ("publish", "draw", "encode"):
        total, count = (stages[f'edgepose_stage_seconds_{what}{{stage="{name}"}}'] for what in ("sum", "count"))
        means[name] = 1000 * total / count
    print("\nmeans, ms: " + ", ".join(f"{name} {value:.2f}" for name, value in means.items()))
    print(f"memory, MB: {memories[0]:.0f} in the first turn, {memories[-1]:.0f} in the last; at most {peak:.0f}")
    wrong = sum(count for (_, expected, got), count in results.items() if got not in expected)
    frames = after["edgepose_frames_total"] - before["edgepose_frames_total"]
    print(f"\n{results.total()} hostile requests in {seconds:.1f} s, {wrong} not refused as expected;", end=" ")
    print(f"{frames / seconds:.1f} frames a second meanwhile")
    for (what, expected, got), count in sorted(results.items()):
        print(f"  {count:4} {what}: {got}{'' if got in expected else f' instead of {expected}'}")
    if options.json:
        report = {"rates": rates, "means_ms": means, "memory_mb": memories, "peak_mb": peak, "hostile_wrong": wrong}
        options.json.write_text(json.dumps(report, indent=2))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--watch"]:
        watch(*map(int, sys.argv[2:5]))
    else:
        main()
