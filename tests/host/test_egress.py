from __future__ import annotations

import json
import subprocess
import sys

import pytest

from sekisho.core.values import host_port
from sekisho.host.egress import is_allowed

ATTEMPTS = """
import json, socket, sys, threading
from sekisho.host import egress
egress.install("192.0.2.7:514, allowed.example")
def attempt(act):
    try:
        act()
    except PermissionError as e:
        return "blocked" if "egress seal" in str(e) else "?"
    except OSError:
        return "let through"
    return "done"
def connect(*address, family=socket.AF_INET):
    def act():
        with socket.socket(family) as s:
            s.settimeout(0.2)
            s.connect(address)
    return act
def send(*address):
    return lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", address)
listener = socket.create_server(("127.0.0.1", 0))
port = listener.getsockname()[1]
found = {
    "loopback": attempt(connect("127.0.0.1", port)),
    "another": attempt(connect("192.0.2.1", 80)),
    "listed": attempt(connect("192.0.2.7", 514)),
    "listed, other port": attempt(connect("192.0.2.7", 80)),
    "datagram": attempt(send("192.0.2.1", 53)),
    "mapped": attempt(connect("::ffff:192.0.2.1", 80, 0, 0, family=socket.AF_INET6)),
    "by name": attempt(connect("evil.example", 80)),
    "look-up": attempt(lambda: socket.getaddrinfo("evil.example", 80)),
    "look-up bytes": attempt(lambda: socket.getaddrinfo(b"evil.example", 80)),
    "old look-up": attempt(lambda: socket.gethostbyname("evil.example")),
    "own look-up": attempt(lambda: socket.getaddrinfo("localhost", 80)),
    "unix": attempt(lambda: socket.socket(socket.AF_UNIX).connect("/nowhere")),
    "connect_ex": attempt(lambda: socket.socket().connect_ex(("192.0.2.1", 80))),
}
import urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
found["urllib"] = attempt(lambda: opener.open("http://192.0.2.1/", timeout=1))
print(json.dumps([found, egress.fetch_blocked(), egress.fetch_blocked()]))
"""


def test_only_loopback_and_the_allow_list_are_reached():
    ended = subprocess.run([sys.executable, "-c", ATTEMPTS], capture_output=True, text=True, check=True)
    found, blocked, again = json.loads(ended.stdout)
    free = {"loopback": "done", "listed": "let through", "own look-up": "done", "unix": "let through"}
    assert {k: v for k, v in found.items() if k in free} == free
    # Python looks a name in connect() up before it tells the hook: the connection is stopped, the question for the name is not.
    assert found["by name"] in ("blocked", "let through")
    rest = {k: v for k, v in found.items() if k != "by name"}
    # urllib wraps the refusal in an error of its own; that it was blocked is in the list.
    assert {k for k, v in rest.items() if v != "blocked"} == {*free, "urllib"}
    assert len(blocked) == len(rest) - len(free) + (found["by name"] == "blocked")
    assert again == []
    assert any("192.0.2.1 port 80" in b for b in blocked)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("a.example", "a.example", None),
        (" A.example:80", "a.example", 80),
        ("[2001:db8::1]:5", "2001:db8::1", 5),
        ("2001:db8::1", "2001:db8::1", None),
        ("[2001:db8::1]", "2001:db8::1", None),
    ],
)
def test_addresses_are_read(text, host, port):
    assert host_port(text) == (host, port)


@pytest.mark.parametrize("text", ["", ":80", "a:b", "a:0", "a:99999", "[]:1", "a:１"])
def test_what_is_no_address(text):
    with pytest.raises(ValueError):
        host_port(text)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.9.9.9", "::1", "localhost", "LOCALHOST", "::ffff:127.0.0.1", ""]
)
def test_this_machine_is_always_reached(host):
    assert is_allowed(host, 1)


@pytest.mark.parametrize(
    "host", ["0.0.0.0.example", "10.0.0.1", "localhost.evil", "::", "fe80::1%lo", "8.8.8.8"]
)
def test_nothing_else_is(host):
    assert not is_allowed(host, 1)
