"""The seal on what goes out: an audit hook that lets this process reach loopback and an allow-list, and nothing else.

Python tells its audit hooks of every connection before it is made (PEP 578). A hook cannot be taken out again, also not by code that was
smuggled in. It sees what goes through Python's own sockets; native code is watched from outside (`sekisho watch`). One gap: a name given to
`connect` itself is looked up before the hook is asked, so that the connection is stopped but not the question to the name server; whoever
calls `getaddrinfo` first, as asyncio and every HTTP client do, is stopped there.
"""

from __future__ import annotations

import errno
import ipaddress
import logging
import sys
from collections import deque
from typing import Any, ClassVar

from ..core.values import allow_list

_MOST = 1000
"""Blocked attempts that are remembered until somebody fetches them."""
_NAMING = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr")
_SENDING = ("socket.connect", "socket.sendto", "socket.sendmsg")
_log = logging.getLogger("sekisho.egress")


class _State:
    """One a process: a hook stays for good."""

    installed: ClassVar[bool] = False
    allowed: ClassVar[frozenset[tuple[str, int | None]]] = frozenset()
    blocked: ClassVar[deque[str]] = deque(maxlen=_MOST)


def install(allowed: str = "") -> None:
    """Seal this process; once more changes the allow-list.

    Args:
        allowed: comma-separated `host` or `host:port`, IPv6 in brackets when a port follows.

    Raises:
        ValueError: what is no address.
    """
    _State.allowed = allow_list(allowed)
    if not _State.installed:
        _State.installed = True
        sys.addaudithook(_hook)


def fetch_blocked() -> list[str]:
    """Return what was blocked since the last call, and forget it."""
    found = []
    while _State.blocked:
        found.append(_State.blocked.popleft())
    return found


def is_allowed(host: str, port: int | None) -> bool:
    """Whether an address is this machine's own or on the allow-list; without a port, whether any port of it is."""
    return _is_among(host, port, _State.allowed)


def is_listed(host: str, port: int, allowed: str) -> bool:
    """Whether an address is this machine's own or on an allow-list that is given as text. Raises ValueError as `install`."""
    return _is_among(host, port, allow_list(allowed))


def _is_among(host: str, port: int | None, allowed: frozenset[tuple[str, int | None]]) -> bool:
    name = host.lower()
    if name in ("", "localhost") or _is_loopback(name):
        return True
    return any(name == h and (p is None or port is None or p == port) for h, p in allowed)


def _is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    # First of all the cheapest test: hooks are called for every import and every opened file too.
    if not event.startswith("socket."):
        return
    if event in _SENDING:
        address = arguments[1]
        if isinstance(address, tuple) and len(address) >= 2 and isinstance(address[0], str):
            host, port = address[0], address[1]
            if not is_allowed(host, port if isinstance(port, int) else None):
                _refuse(f"{event.removeprefix('socket.')} to {host} port {port}")
    elif event in _NAMING:
        host = arguments[0].decode("ascii", "replace") if isinstance(arguments[0], bytes) else arguments[0]
        # A number is looked up without asking anybody; what is done with it is seen at the connection.
        if isinstance(host, str) and not _is_number(host) and not is_allowed(host, None):
            _refuse(f"look-up of {host}")


def _refuse(what: str) -> None:
    _State.blocked.append(what)
    _log.error("blocked: %s", what)
    raise PermissionError(errno.EACCES, f"the egress seal blocked a {what}; allow it in the setting `egress`")
