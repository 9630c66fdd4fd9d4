from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sekisho.host import watch

pytestmark = pytest.mark.skipif(not watch.PROC.exists(), reason="needs /proc")
SERVICE = """
import socket, subprocess, sys
first = socket.create_server(("127.0.0.1", 0))
print(first.getsockname()[1], flush=True)
sys.stdin.readline()
second = socket.create_server(("127.0.0.1", 0))
child = subprocess.Popen([sys.argv[1], "60"])
print(second.getsockname()[1], child.pid, flush=True)
sys.stdin.readline()
child.kill(); child.wait()
"""


@pytest.fixture
def service(tmp_path):
    """A process with one listener, that on a line of input opens another and starts a child."""
    sleep = tmp_path / "sleeper"
    sleep.write_bytes(Path("/bin/sleep").read_bytes())
    sleep.chmod(0o755)
    command = [sys.executable, "-c", SERVICE, str(sleep)]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield child, int(child.stdout.readline()), sleep
    finally:
        child.communicate("\n\n", timeout=30)


def test_listeners_and_children_are_seen(service):
    child, port, sleep = service
    assert watch.listener_of(port) == child.pid
    before = watch.look(child.pid)
    assert before.listeners == {f"127.0.0.1:{port}"}
    assert before.children == {}
    assert any("python" in path for path in before.files)
    child.stdin.write("\n")
    child.stdin.flush()
    second, pid = child.stdout.readline().split()
    found = watch.differences(before, watch.look(child.pid))
    assert ("listener", f"a new listener on 127.0.0.1:{second}") in found
    assert ("child", f"a child process {sleep} ({pid})") in found
    assert watch.differences(before, before) == []


def test_a_changed_program_is_seen():
    before = watch.Seen(frozenset(), frozenset(), {}, {"/a": "1", "/b": "2"})
    now = watch.Seen(frozenset(), frozenset({"192.0.2.1:80"}), {}, {"/a": "9", "/b": "2", "/c": "3"})
    assert watch.differences(before, now) == [
        ("connection", "a connection to 192.0.2.1:80"),
        ("binary", "/a was changed"),
        ("binary", "/c is newly loaded"),
    ]
    assert watch.differences(before, now, frozenset({"192.0.2.1:80"}))[0][0] == "binary"


def test_the_kernels_table_is_read():
    line = "   0: 0100007F:1F90 010200C0:0050 01 0:0 0:0 0 0 0 4242 1"
    v6 = "   1: 00000000000000000000000001000000:0016 0000000000000000FFFF0000010200C0:0050 0A 0:0 0:0 0 0 0 7 1"
    four, six = watch.links("head\n" + line + "\n" + v6)
    assert (four.local, four.remote, four.state, four.inode) == (
        ("127.0.0.1", 8080),
        ("192.0.2.1", 80),
        "01",
        "4242",
    )
    assert (six.local, six.remote) == (("::1", 22), ("192.0.2.1", 80))


def test_who_is_not_there():
    with pytest.raises(ProcessLookupError):
        watch.look(2**22 + 1)
