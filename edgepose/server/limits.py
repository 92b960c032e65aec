"""The numbers that bound what visitors may ask for: sizes, clients, rates and times. `guards` and others enforce them.

Nothing is imported here, because the command line shows some of the defaults.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Limits of the server. The defaults suit a page that a household or a laboratory looks at.

    Attributes:
        upload_bytes: Bytes of a picture, or of the form around it, in `POST /estimate`.
        upload_pixels: Pixels of that picture: more than phones take by default (12 million), and 75 MB once decoded.
        message_bytes: Bytes of a message on a WebSocket, which is one frame of a visitor's webcam.
        message_pixels: Pixels of that frame: 4K.
        uploads: Uploads that are read or looked at at a time: each takes memory.
        clients: Streams and WebSockets at a time, all kinds together.
        waiting: Visitors' pictures that wait for the network at a time, uploads and frames of webcams together.
        connections: Connections at a time; more are closed at once.
        connections_per_address: Connections at a time from one address.
        rate: Requests a second from one address, in the long run. A WebSocket or a stream is one request.
        burst: Requests that an address may send at once.
        wrong_tokens: Wrong tokens that an address may send at once, and one more every ten seconds. The right one is let in.
        wrong_s: Seconds that the answer to any more of them takes.
        head_s: Seconds until the head of a request has to be there.
        body_s: Seconds until its body has to be there.
        send_s: Seconds that a client may take for one picture, message or answer; after that, its connection is ended.
        small_frames: WebSocket frames too small for a picture, pings above all, that a client may send at once; 50 a second
            in the long run.
        picture_rate: Pictures a second for viewers. Drawing and encoding one of 720p takes a core for 4 ms, of 360p for
            2.5 ms, in which a network that runs on all cores makes no progress on any.
        picture_height: Height of these pictures in pixels; higher frames are halved until they fit. Snapshots are not.
        poses_rate: Messages of poses a second for viewers; where frames come faster, those of several are sent together.
    """

    upload_bytes: int = 20 << 20
    upload_pixels: int = 25_000_000
    message_bytes: int = 4 << 20
    message_pixels: int = 4096 * 2160
    uploads: int = 8
    clients: int = 64
    waiting: int = 64
    connections: int = 256
    connections_per_address: int = 128
    rate: float = 20.0
    burst: int = 100
    wrong_tokens: int = 10
    wrong_s: float = 1.0
    head_s: float = 10.0
    body_s: float = 20.0
    send_s: float = 20.0
    small_frames: int = 500
    picture_rate: float = 10.0
    picture_height: int = 540
    poses_rate: float = 40.0
