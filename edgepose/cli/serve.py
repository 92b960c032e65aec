"""The command `edgepose serve`: its options, its token and its output. The server's packages are imported only when it runs."""

from __future__ import annotations

import argparse
import ipaddress
import os
import secrets
import socket
import sys
from contextlib import suppress
from functools import partial
from urllib.parse import quote

from edgepose.cli.options import add_estimator_options, add_source_options, make_camera, make_estimator, whole
from edgepose.errors import InputError, MissingExtraError
from edgepose.server.limits import Limits

# The least length of a token that somebody chooses. An address can make twenty guesses a second, see `Limits.rate`: half of all
# tokens of eight small letters take more than a hundred years.
MIN_TOKEN = 8
TOKEN_VARIABLE = "EDGEPOSE_TOKEN"


def add_serve_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `edgepose serve`."""
    parser.add_argument(
        "source",
        nargs="?",
        metavar="SOURCE",
        help="the source, as in `edgepose run`; without one, only visitors' webcams and pictures are looked at",
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="the address to listen on; 0.0.0.0 stands for all (default: %(default)s)"
    )
    parser.add_argument(
        "--port", type=whole(0), default=8000, help="the port; 0 stands for any free one (default: %(default)s)"
    )
    parser.add_argument(
        "--token",
        metavar="T",
        help=f"the token that every visitor has to give; {TOKEN_VARIABLE} sets it, too (default: none if only this machine can "
        "connect, else one is made and printed)",
    )
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name by which visitors may call the server; may be given several times",
    )
    parser.add_argument(
        "--max-clients", type=whole(1), default=64, metavar="N", help="streams and WebSockets at a time (default: %(default)s)"
    )
    parser.add_argument("--loop", action="store_true", help="begin files again when they end")
    parser.add_argument(
        "--no-pace", dest="paced", action="store_false", help="go through files as fast as possible, not at their own rate"
    )
    parser.add_argument(
        "--stream-fps",
        type=_rate,
        default=Limits.picture_rate,
        metavar="FPS",
        help="pictures a second for viewers, at most (default: %(default)g)",
    )
    parser.add_argument(
        "--stream-height",
        type=whole(1),
        default=Limits.picture_height,
        metavar="PX",
        help="height of these pictures in pixels, at most; higher frames are halved until they fit (default: %(default)s)",
    )
    add_source_options(parser)
    add_estimator_options(parser)


def serve(options: argparse.Namespace) -> int:
    """Serve until a signal ends it; returns the exit status."""
    # OpenCV reads these when it is imported. It decodes no larger pictures of visitors, whatever the file says of its size (set
    # the variable yourself if the source has larger ones), and does not log each row of a damaged picture.
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(Limits.upload_pixels))
    os.environ.setdefault("OPENCV_LOG_LEVEL", "FATAL")
    try:
        from edgepose.server.app import Site, create_app
        from edgepose.server.inference import SourceInference
        from edgepose.server.uvicorn_server import BoundedServer, is_loopback, listen
    except ImportError as error:
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
            inference = SourceInference(
                estimator,
                open_frames,
                track=options.track,
                smooth=options.smooth,
                loop=options.loop,
                paced=options.paced,
            )
        limits = Limits(clients=options.max_clients, picture_rate=options.stream_fps, picture_height=options.stream_height)
        site = Site(estimator, inference, track=options.track, smooth=options.smooth, limits=limits)
        server = BoundedServer(create_app(site, token=token, names=options.allow_host), site)
        address = f"http://{_shown_host(listening)}:{listening.getsockname()[1]}/"
        print(
            f"edgepose: {address}{'' if token is None else f'?token={quote(token)}'} (Ctrl-C ends)", file=sys.stderr, flush=True
        )
        with suppress(KeyboardInterrupt):  # Ctrl-C is the usual end.
            server.run([listening])
    return 0


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} given; expected a number above 0, to 1000")
    return rate


def _token(options: argparse.Namespace, is_private: bool) -> str | None:
    token: str | None = (os.environ.get(TOKEN_VARIABLE) or None) if options.token is None else options.token
    if token is None:
        return None if is_private else secrets.token_urlsafe(16)
    if len(token) < MIN_TOKEN or not all("!" <= letter <= "~" for letter in token):
        raise InputError(f"the token has {len(token)} characters; expected {MIN_TOKEN} or more ASCII ones, without spaces")
    return token


def _shown_host(listening: socket.socket) -> str:
    """The host in the printed address: the one that it listens on, or the machine's name if it listens on all."""
    host = str(listening.getsockname()[0])
    if ipaddress.ip_address(host.partition("%")[0]).is_unspecified:
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host
