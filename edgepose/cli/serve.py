"""The command `edgepose serve`. The packages that the server needs are imported when it runs."""

from __future__ import annotations

import argparse
import ipaddress
import os
import re
import secrets
import socket
import sys
from contextlib import suppress
from functools import partial
from urllib.parse import quote

from edgepose.cli.options import add_estimator_options, add_source_options, make_camera, make_estimator, rate, whole
from edgepose.errors import EdgePoseError, InputError, MissingExtraError, missing_library
from edgepose.process import leave
from edgepose.server.limits import Limits

# The least length of a token that people choose. An address makes twenty guesses a second at most, see `Limits.rate`: to try
# all tokens of eight letters takes three hundred years.
MIN_TOKEN = 8
TOKEN_VARIABLE = "EDGEPOSE_TOKEN"


def add_serve_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `edgepose serve`."""
    add = parser.add_argument
    about = (
        "The source to serve, named as for `edgepose run`. Without one, people are found only in the webcams and pictures of "
        "visitors."
    )
    add("source", nargs="?", metavar="SOURCE", help=about)
    about = "Listen on this address; 0.0.0.0 is every address of this machine. The default is %(default)s."
    add("--host", default="127.0.0.1", help=about)
    add("--port", type=whole(0), default=8000, help="Listen on this port; 0 is any free one. The default is %(default)s.")
    about = (
        f"Ask every visitor for this token, which {TOKEN_VARIABLE} in the environment sets, too. By default, one is made and "
        "printed if other machines can connect, and none is asked for if they cannot."
    )
    add("--token", help=about)
    about = "Answer to this host name, too. The option may be repeated."
    add("--allow-host", action="append", default=[], metavar="NAME", help=about)
    about = "The path under which a proxy shows the server, such as /camera."
    add("--root-path", type=path, default="", metavar="PATH", help=about)
    about = (
        "Believe proxies at these addresses or networks, with commas between, when they say that a visitor came by HTTPS; * is "
        "every one. The default is %(default)s, this machine."
    )
    add("--forwarded-allow-ips", type=networks, default="127.0.0.0/8,::1", metavar="ADDRESSES", help=about)
    about = "Serve at most N visitors at a time. The default is %(default)s."
    add("--max-clients", type=whole(1), default=64, metavar="N", help=about)
    add("--loop", action="store_true", help="Begin files again where they end.")
    add("--no-pace", dest="paced", action="store_false", help="Go through files as fast as possible, not at their own rate.")
    about = "Send viewers at most this many pictures a second. The default is %(default)g."
    add("--stream-fps", type=rate, default=Limits.picture_rate, metavar="FPS", help=about)
    about = "Halve pictures for viewers until they are at most H pixels high. The default is %(default)s."
    add("--stream-height", type=whole(1), default=Limits.picture_height, metavar="H", help=about)
    add_source_options(parser)
    add_estimator_options(parser)


def serve(options: argparse.Namespace) -> int:
    """Serve until a signal ends it; returns the exit status."""
    # Set before OpenCV is imported, which reads them then. It decodes no larger picture for a visitor (a user whose source has
    # larger ones raises the bound), and does not log a line for each row of a damaged picture.
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(Limits.upload_pixels))
    os.environ.setdefault("OPENCV_LOG_LEVEL", "FATAL")
    try:
        from edgepose.server.app import Site, create_app
        from edgepose.server.inference import SourceInference
        from edgepose.server.uvicorn_server import BoundedServer, is_loopback, listen
    except ImportError as error:
        if isinstance(error, EdgePoseError) or missing_library(error) is not None:
            raise
        raise MissingExtraError(f"{error.name}, which the server needs,", "serve") from error
    import cv2

    from edgepose.media.sources import open_source

    # OpenCV's threads are busy while they wait for each other, on cores that the network would use.
    cv2.setNumThreads(1)
    # The port comes first, because it fails at once if it does; the model takes a second or two.
    with listen(options.host, options.port) as listening:
        token = _token(options, is_loopback(listening))
        open_frames = partial(open_source, options.source, camera=make_camera(options))
        estimator = make_estimator(options)
        inference = None
        if options.source is not None:
            follow = {"track": options.track, "smooth": options.smooth}
            try:
                inference = SourceInference(estimator, open_frames, loop=options.loop, paced=options.paced, **follow)
            except KeyboardInterrupt:
                leave(130)
                raise
        limits = Limits(clients=options.max_clients, picture_rate=options.stream_fps, picture_height=options.stream_height)
        site = Site(estimator, inference, track=options.track, smooth=options.smooth, limits=limits)
        proxy = {"root_path": options.root_path, "trusted": options.forwarded_allow_ips}
        server = BoundedServer(create_app(site, token=token, names=options.allow_host, **proxy), site)
        port, query = listening.getsockname()[1], "" if token is None else f"?token={quote(token)}"
        first, *others = _called(listening)
        print(f"edgepose: http://{first}:{port}/{query} (Ctrl-C ends)", file=sys.stderr, flush=True)
        for other in others:
            print(f"edgepose: or http://{other}:{port}/{query}", file=sys.stderr, flush=True)
        with suppress(KeyboardInterrupt):  # Ctrl-C is the usual end.
            server.run([listening])
        leave(0)
    return 0


def path(text: str) -> str:
    """The path of `--root-path`, for argparse: with a slash in front, and none behind."""
    if not re.fullmatch(r"[\w./~-]*", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r} given; expected a path such as /camera")
    return f"/{text.strip('/')}".rstrip("/")


def networks(text: str) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """The addresses of `--forwarded-allow-ips`, for argparse."""
    try:
        return [ipaddress.ip_network(each.strip(), strict=False) for each in text.replace("*", "0.0.0.0/0,::/0").split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}; expected addresses such as 192.168.1.5 or 10.0.0.0/8, or *") from None


def _token(options: argparse.Namespace, is_private: bool) -> str | None:
    token: str | None = (os.environ.get(TOKEN_VARIABLE) or None) if options.token is None else options.token
    if token is None:
        return None if is_private else secrets.token_urlsafe(16)
    if len(token) < MIN_TOKEN or not all("!" <= letter <= "~" for letter in token):
        raise InputError(f"the token has {len(token)} characters; expected {MIN_TOKEN} or more ASCII ones, without spaces")
    return token


def _called(listening: socket.socket) -> list[str]:
    """The hosts in the addresses of this server: the one that it listens on, or the machine's name and its IP address."""
    host = str(listening.getsockname()[0])
    if not ipaddress.ip_address(host.partition("%")[0]).is_unspecified:
        return [f"[{host}]" if ":" in host else host]
    # Nothing is sent: the system only says which of its addresses it would send from to another network.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking, suppress(OSError):
        asking.connect(("192.0.2.1", 9))
        return [socket.gethostname(), asking.getsockname()[0]]
    return [socket.gethostname()]
