"""A server in a process of its own, asked by the other commands."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from sekisho.cli import remote
from sekisho.core.errors import AccessError, EngineError, InputError, NotFoundError, SekishoError
from sekisho.core.settings import load
from sekisho.host import gpu as host_gpu

from .conftest import ASKED, start
from .test_check import free_port


@pytest.fixture
def server(promoted):
    """A served house; gives the port."""
    port = free_port()
    process = start("serve", "--port", str(port), "--json")
    try:
        line = b""
        until = time.monotonic() + 60
        while b"}" not in line and time.monotonic() < until:
            line += process.stdout.readline()
        assert json.loads(line) == {"address": f"http://127.0.0.1:{port}"}, process.stderr.read()
        yield port
    finally:
        process.terminate()
        process.communicate(timeout=60)


def test_judge_asks_the_server_over_the_same_ledger(cli, server, tmp_path):
    judged = cli("judge", "gate", "--text", ASKED, "--port", str(server), "--json").document
    kept = cli("audit", "show", judged["id"]).document["record"]
    assert "request" in kept["links"]
    alone = cli("judge", "gate", "--text", ASKED, "--port", str(free_port()), "--json").document
    assert alone["probabilities"] == judged["probabilities"]
    assert "request" not in cli("audit", "show", alone["id"]).document["record"]["links"]
    refused = cli("judge", "gate", "--text", ASKED, "--contract", "moon", "--port", str(server))
    assert refused.code == 2
    assert "moon" in refused.err
    elsewhere = cli("judge", "gate", "--text", ASKED, "--port", str(server), "--home", str(tmp_path))
    assert "Nothing is promoted" in elsewhere.err


def test_the_server_is_known_and_its_port_is_fine(cli, server):
    settings = load(flags={"port": server})
    assert remote.health(settings)["release"]["model"] == "first"
    checks = cli("doctor", "--port", str(server), "--json").document["checks"]
    assert next(c for c in checks if c["name"] == "port")["found"] == f"{server}: Sekisho answers"
    second = cli("serve", "--port", str(server))
    assert second.code == 2
    assert f"{server} cannot be served" in second.err


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_ctrl_c_stops_a_server_calmly(promoted):
    process = start("serve", "--port", "0")
    words = process.stdout.readline().decode()
    assert words.startswith("Sekisho serves at http://127.0.0.1:")
    address = words.split()[-1]
    assert httpx.get(f"{address}/healthz", trust_env=False).json()["status"] == "ok"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode in {0, 130}
    assert b"Traceback" not in err
    assert err.endswith(b"Stopped.\n")


def test_a_taken_port_ends_up_before_any_work(cli, tmp_path):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ended = cli("up", "--port", str(taken.getsockname()[1]))
    assert ended.code == 2
    assert "cannot be bound" in ended.err
    assert not (Path(os.environ["SEKISHO_HOME"]) / "data").exists()


def test_nothing_promoted_cannot_be_served(cli):
    ended = cli("serve", "--port", "0", "--engine", "fake")
    assert ended.code == 2
    assert "sekisho up" in ended.err
    assert ended.out == ""


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (404, {"detail": {"error_type": "not_found", "message": "No."}}, NotFoundError),
        (401, {"detail": {"error_type": "authentication_error", "message": "No."}}, AccessError),
        (422, {"detail": [{"loc": ["body"], "msg": "No.", "type": "x"}]}, InputError),
        (500, {"detail": {"error_type": "new_code", "message": "No."}}, SekishoError),
        (502, {"oops": 1}, EngineError),
        (502, [], EngineError),
    ],
)
def test_a_servers_refusal_keeps_its_class(status, body, kind):
    assert type(remote.refused(status, body)) is kind


def test_addresses_people_can_open():
    def address(**flags):
        return remote.address_of(load(flags={"tokens": "t", "port": 80, **flags}, env={}))

    assert address() == "http://127.0.0.1:80"
    tls = {"tls_cert": "/a/cert.pem", "tls_key": "/a/key.pem"}
    assert address(host="0.0.0.0", **tls) == "https://127.0.0.1:80"
    assert address(host="::1") == "http://[::1]:80"


def test_something_else_on_the_port_is_not_sekisho(tmp_path):
    import sys

    port = free_port()
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    other = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            try:
                httpx.get(f"http://127.0.0.1:{port}/", trust_env=False)
                break
            except httpx.HTTPError:
                time.sleep(0.1)
        assert remote.health(load(flags={"port": port})) is None
    finally:
        other.terminate()
        other.wait(timeout=30)


@pytest.mark.parametrize("engine", ["llamacpp", "torch"])
@pytest.mark.parametrize("command", ["serve", "up"])
def test_a_gpu_that_is_absent_ends_the_start_with_78_before_anything_is_made(cli, tmp_path, command, engine):
    gpu = host_gpu.PROBES[engine]()
    if gpu:
        pytest.skip("this machine has a GPU")
    options = ("--home", str(tmp_path), "--engine", engine, "--device", "cuda", "--port", str(free_port()))
    ended = cli(command, *options)
    assert ended.code == 78
    assert "sees no GPU" in ended.err
    assert not list(tmp_path.glob("runs/*")) + list(tmp_path.glob("data/*"))
