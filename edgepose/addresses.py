"""Addresses as they may be shown: in errors, logs, pages and results, without the passwords in them."""

from __future__ import annotations

import re

# Two letters at least, because "C:/" is none; one slash of two where the address has been taken for a path.
_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]+:/{1,3}"
_ADDRESS = re.compile(rf"({_SCHEME}|//)(.*)", re.DOTALL)
_ADDRESS_IN_TEXT = re.compile(rf"\b({_SCHEME})([^\s\"'<>]+)")
_USER = re.compile(r"(?<![^\s\"'(=])[^\s\"'/:@]+:(?![/\\])[^\s\"'@]*@(?=[\w\[])")  # user:password@host, without a scheme.
# What libraries quote of an address without its beginning, and the properties of GStreamer's elements.
_QUERY_IN_TEXT = re.compile(r"\?[^\s\"'<>]*=[^\s\"'<>]*")
_SECRET = re.compile(
    r"([\w-]*(?:pass|pwd|pw|secret|token|key|auth|cred)[\w-]*\s*=\s*)(\"[^\"]*\"|'[^']*'|[^\s&;,)]+)", re.IGNORECASE
)
_STRAY_AT = re.compile(r"(?<=[^/])@")
_VALUE = re.compile(r"([^/&;?#=]*)=([^/&;?#]+)")
HIDDEN = "…"
# Parameters of cameras and videos that are no secrets, and what their values may look like.
_HARMLESS = re.compile(
    r"cam(era)?|ch|chan(nel)?|(video)?codec|compression|end|fps|height|profile|proto|res(olution)?|start|stream(type)?|subtype|t|"
    r"transport(mode)?|unicast|width",
    re.IGNORECASE,
)
_SHORT = re.compile(r"\w{1,12}")


def showable(address: str) -> str:
    """An address without user name and password, and without most of what follows an "=" in its path and query.

    Cameras have passwords in any of these places, under many names; so the values that are shown are those of names that are
    known for harmless. What is no address stays as it is.
    """
    if found := _ADDRESS.fullmatch(address):
        return found[1] + _bare(found[2])
    return _USER.sub("", address)


def showable_text(text: str) -> str:
    """A text that may quote addresses, or parts of some, each as `showable` has it: a library's error, or a pipeline."""
    text = _ADDRESS_IN_TEXT.sub(lambda found: found[1] + _bare(found[2]), text)
    text = _QUERY_IN_TEXT.sub(lambda found: _bare_query(found[0]), _USER.sub("", text))
    return _SECRET.sub(lambda found: found[1] + HIDDEN, text)


def _bare(address: str) -> str:
    """An address after its scheme, without its secrets."""
    host = re.split(r"[/?#\\]", address, maxsplit=1)[0]
    port = host.rpartition(":")[2] if ":" in host and not host.endswith("]") else "0"
    if "@" in host and (stray := list(_STRAY_AT.finditer(address, len(host)))):
        # Either a path with an "@" in it, or a password with "@" and "/": there is no telling where the host begins.
        address = HIDDEN + address[stray[-1].end() :]
    elif "@" in host:
        address = address[host.rindex("@") + 1 :]
    elif "@" in address and not port.isdecimal():
        # That was no port, but a password with a "/", "?" or "#" in it.
        address = address[address.rindex("@") + 1 :]
    path, mark, query = re.split(r"([?#]|$)", address, maxsplit=1)
    return _VALUE.sub(lambda found: _hidden(found[1], found[2]), path) + _bare_query(mark + query)


def _bare_query(query: str) -> str:
    """A query or a fragment without its values."""

    def bare_piece(found: re.Match[str]) -> str:
        name, equals, value = found[0].partition("=")
        return _hidden(name, value) if equals else HIDDEN

    return re.sub(r"[^&;?#]+", bare_piece, query)


def _hidden(name: str, value: str) -> str:
    is_shown = not value or (_HARMLESS.fullmatch(name) and _SHORT.fullmatch(value))
    return f"{name}={value if is_shown else HIDDEN}"
