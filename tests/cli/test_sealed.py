"""A real service process with TLS, and a deliberate call outside from within it: blocked, logged, in the ledger, in the report."""

from __future__ import annotations

import datetime
import ipaddress
import json
import ssl
import subprocess
import sys
import time

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sekisho.core.canonical import utc_now

from .conftest import ASKED
from .test_check import free_port

SERVICE = """
import socket, sys, threading, time
from sekisho.cli.main import run
from sekisho.host import egress
def smuggle():
    while not egress._State.installed:
        time.sleep(0.01)
    for act in (lambda: socket.create_connection(("192.0.2.1", 443), 1), lambda: socket.getaddrinfo("evil.example", 443)):
        try:
            act()
        except PermissionError as e:
            print("smuggler:", e, file=sys.stderr, flush=True)
threading.Thread(target=smuggle, daemon=True).start()
sys.exit(run(sys.argv[1:]))
"""


@pytest.fixture
def tls(tmp_path):
    """A self-signed certificate for 127.0.0.1 and its key, as paths."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sekisho test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .sign(key, hashes.SHA256())
    )
    paths = tmp_path / "cert.pem", tmp_path / "key.pem"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))
    return paths


@pytest.fixture
def served(promoted, tls, tmp_path):
    """A service with TLS and a smuggler in it; gives its address, the flags that reach it, and the file of its log."""
    port, log = free_port(), tmp_path / "service.log"
    flags = ["--port", str(port), "--tls-cert", str(tls[0]), "--tls-key", str(tls[1])]
    command = [sys.executable, "-c", SERVICE, "serve", *flags, "--json"]
    with log.open("wb") as err:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=err)
    try:
        line = b""
        until = time.monotonic() + 60
        while b"}" not in line and time.monotonic() < until:
            line += process.stdout.readline()
        yield json.loads(line)["address"], flags, log
    finally:
        process.terminate()
        process.communicate(timeout=60)


def test_it_speaks_tls_and_a_call_outside_is_blocked_logged_and_reported(cli, served, tls, tmp_path):
    address, flags, log = served
    assert address.startswith("https://127.0.0.1:")
    trusted = ssl.create_default_context(cafile=str(tls[0]))
    with httpx.Client(base_url=address, verify=trusted, trust_env=False) as client:
        assert client.get("/healthz").json()["status"] == "ok"
    with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
        httpx.get(f"{address}/healthz", trust_env=False)
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"{address.replace('https', 'http')}/healthz", trust_env=False)
    judged = cli("judge", "gate", "--text", ASKED, *flags, "--json").document
    assert "request" in cli("audit", "show", judged["id"]).document["record"]["links"]

    found: list = []
    until = time.monotonic() + 30
    while len(found) < 2 and time.monotonic() < until:
        found = cli("audit", "show", "--kind", "incident", "--json").document
        time.sleep(0.1)
    told = {e["record"]["what"] for e in found}
    assert told == {"blocked a connect to 192.0.2.1 port 443", "blocked a look-up of evil.example"}
    words = log.read_text(encoding="utf-8")
    assert words.count("smuggler: [Errno 13] the egress seal blocked a") == 2
    assert "blocked: connect to 192.0.2.1 port 443" in words
    today, page = utc_now()[:10], tmp_path / "report.html"
    report = cli("audit", "report", "--from", today, "--to", today, "--out", str(page), "--json").document[
        "report"
    ]
    assert report["incidents"]["counts"] == {"egress": 2}
    assert "192.0.2.1 port 443" in page.read_text(encoding="utf-8")
