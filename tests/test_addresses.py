"""Addresses without what is secret in them."""

from __future__ import annotations

import pytest

from edgepose.addresses import showable, showable_text

ADDRESSES = [
    ("rtsp://u:SECRET@host:554/a/b", "rtsp://host:554/a/b"),
    ("rtsp://u:SEC@RET@host/x", "rtsp://host/x"),
    ("rtsp://u:SEC/RET@host/x", "rtsp://host/x"),
    ("rtsp://u:SEC?RET@host/x", "rtsp://host/x"),
    ("rtsp://u:SEC#RET@host/x", "rtsp://host/x"),
    ("rtsp://u:SEC:RET@host", "rtsp://host"),
    ("rtsp://u:SEC RET@host/x", "rtsp://host/x"),
    ("rtsp://u:SEC%40RET@host/x", "rtsp://host/x"),
    ("rtsp://u:SEC@RET/S@host/x", "rtsp://…host/x"),
    ("rtsp://SECRET@host/x", "rtsp://host/x"),
    ("rtsp://:SECRET@[::1]:80/x", "rtsp://[::1]:80/x"),
    ("RTSP://u:SECRET@host", "RTSP://host"),
    ("rtsp:/u:SECRET@host/x", "rtsp:/host/x"),  # As a path.
    ("u:SECRET@host/x", "host/x"),
    ("//u:SECRET@host/x", "//host/x"),
    ("http://host/v?password=SECRET&channel=1", "http://host/v?password=…&channel=1"),
    ("http://host/v?channel=1&pwd=SECRET;x=SECRET#SECRET", "http://host/v?channel=1&pwd=…;x=…#…"),
    ("http://host/v?SECRET", "http://host/v?…"),
    ("http://host/v?channel=SECRET%20SECRET", "http://host/v?channel=…"),
    ("http://host/v?a=SECRET?b=SECRET", "http://host/v?a=…?b=…"),
    ("http://host?token=SECRET", "http://host?token=…"),
    ("rtsp://host/user=SECRET&password=SECRET&channel=1&stream=0.sdp?", "rtsp://host/user=…&password=…&channel=1&stream=…?"),
    ("rtsp://host/user=x_password=SECRET_channel=1/x", "rtsp://host/user=…/x"),
]
SAME = [
    "rtsp://host:554/live",
    "http://host/@me/v.mp4",
    "http://host:80/@me",
    "http://[::1]/x",
    "camera 0",
    "/dev/video0",
    "photos/*.jpg",
    "photo?.jpg",
    "C:/Users/a@b/x.jpg",
    "C:\\a@b.jpg",
    "a=b.jpg",
    "",
]


@pytest.mark.parametrize(("address", "shown"), ADDRESSES)
def test_an_address_is_shown_without_its_secrets(address: str, shown: str) -> None:
    assert showable(address) == shown


@pytest.mark.parametrize("address", SAME)
def test_what_has_no_secret_stays(address: str) -> None:
    assert showable(address) == showable_text(address) == address


TEXTS = [
    ("Invalid URL 'http://u:SECRET@/x': no host", "Invalid URL 'http:///x': no host"),
    ("Max retries exceeded with url: /x?password=SECRET (refused)", "Max retries exceeded with url: /x?password=… (refused)"),
    ("to http://h/?X-Amz-Signature=SECRET, or rtsp://u:SECRET@h/x", "to http://h/?X-Amz-Signature=… or rtsp://h/x"),
    ("netloc 'u:SECRET@h' is no host", "netloc 'h' is no host"),
    (
        'rtspsrc location=rtsp://u:SECRET@h/x user-pw=SECRET proxy-pw="SEC RET" ! appsink',
        "rtspsrc location=rtsp://h/x user-pw=… proxy-pw=… ! appsink",
    ),
]


@pytest.mark.parametrize(("text", "shown"), TEXTS)
def test_a_text_is_shown_without_the_secrets_it_quotes(text: str, shown: str) -> None:
    assert showable_text(text) == shown
