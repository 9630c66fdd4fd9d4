"""The loopback interface, which a fresh network namespace (`unshare -n make test`) starts without."""

from __future__ import annotations

import errno
import socket
import struct
import sys

_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 0x1
"""SIOCGIFFLAGS, SIOCSIFFLAGS and IFF_UP of Linux."""


def is_up() -> bool:
    """Whether 127.0.0.1 can be reached."""
    with socket.socket() as listener, socket.socket() as caller:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        return caller.connect_ex(listener.getsockname()) != errno.ENETUNREACH


def raise_it() -> bool:
    """Set the interface `lo` up, as `ip link set lo up` does; return whether it is up now."""
    if not sys.platform.startswith("linux"):
        return is_up()
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        try:
            flags = struct.unpack_from(
                "16sh", fcntl.ioctl(control, _GET_FLAGS, struct.pack("16s24x", b"lo"))
            )[1]
            fcntl.ioctl(control, _SET_FLAGS, struct.pack("16sh22x", b"lo", flags | _UP))
        except PermissionError:
            return False
    return is_up()
