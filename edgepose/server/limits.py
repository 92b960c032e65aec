"""What the outside may ask for: sizes, numbers of clients, rates and times, each with a bound."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds of the server. The defaults suit a page that a household or a laboratory looks at.

    Attributes:
        upload_bytes: Of a picture, or the form around it, in `POST /estimate`.
        upload_pixels: Of that picture: more than phones take by default (12 million), and 75 MB once decoded.
        message_bytes: Of a message on a WebSocket, which is one frame of a visitor's webcam.
        message_pixels: Of that frame: 4K.
        uploads: That are read or looked at, at a time: each takes memory.
        clients: Streams and WebSockets at a time, all kinds together.
        waiting: Pictures of visitors that wait for the network at a time, uploads and frames of webcams together.
        connections: Open at a time; what comes above is closed unheard.
        connections_per_address: Likewise, from one address.
        rate: Requests a second and address, in the long run. A WebSocket or a stream is one.
        burst: Requests that an address may send at once.
        wrong_tokens: Wrong tokens that an address may send at once; one more is allowed every ten seconds. The right one is
            let in all the same.
        wrong_s: Seconds that the answer to any more of them takes.
        head_s: Seconds until the head of a request has to be there.
        body_s: Seconds until its body has to be there.
        send_s: Seconds that anybody may take for one picture, message or answer before they are let go.
        small_frames: WebSocket frames too small for a picture, pings above all, that a client may send at once; 50 a second
            in the long run.
        picture_rate: Pictures a second that viewers get. Drawing and encoding one of 720p takes a core for 4 ms, of 360p for
            2.5 ms, in which a network on all cores makes no progress on any.
        picture_height: Pixels; frames with more are halved until they fit. Snapshots are not.
        poses_rate: Times a second that viewers are sent poses; where frames come faster, those of several together.
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
