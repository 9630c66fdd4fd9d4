"""A witness behind an address: what it was sent is what it says, and a rewritten or cut ledger does not pass it."""

from __future__ import annotations

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from sekisho import wiring
from sekisho.core import settings
from sekisho.core.errors import LedgerError, SettingsError
from sekisho.ledger import witness
from sekisho.loop import audit, evidence, far_witness

from .conftest import judged


class Keeper(ThreadingHTTPServer):
    """Keeps what it was sent; answers with `status` instead while that is set."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.kept, self.status = b"", 0


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._answer(self.server.status or (200 if self.server.kept else 404), self.server.kept)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if not self.server.status:
            self.server.kept += body
        self._answer(self.server.status or 204, b"")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def keeper():
    with Keeper() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def url_of(keeper: Keeper) -> str:
    return f"http://127.0.0.1:{keeper.server_address[1]}/ledger"


@contextlib.contextmanager
def opened(home, **flags):
    house = wiring.build(settings.load({"home": str(home), "engine": "fake", **flags}))
    try:
        yield house
    finally:
        house.close()


def test_it_is_sent_each_checkpoint_and_shows_another_ledger(tmp_path, keeper):
    url = url_of(keeper)
    with opened(tmp_path / "home", witness_url=url) as house:
        judged(house, "one")
        evidence.checkpoint(house)
        judged(house, "two")
        made = evidence.checkpoint(house)
        assert audit.verify_all(house).ok
        assert audit.witnesses(house) == url
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(keeper.kept)
    lines = list(witness.read(copy))
    assert [line.checkpoint.size for line in lines] == [1, 3]
    assert lines[-1].checkpoint == made
    assert sum(len(line.digests) for line in lines) == 4

    with opened(tmp_path / "other", witness_url=url) as other:
        judged(other, "one")
        found = audit.verify_all(other)
        assert (found.ok, found.first_bad_seq) == (False, 1)
        with pytest.raises(LedgerError, match="is shorter than"):
            evidence.checkpoint(other)
        for i in range(5):
            judged(other, f"more {i}")
        with pytest.raises(LedgerError, match="other entries than"):
            evidence.checkpoint(other)
        assert other.ledger.count("checkpoint") == 0
    assert keeper.kept == copy.read_bytes()


def test_one_that_fails_is_an_error_and_is_caught_up_with(tmp_path, keeper):
    with opened(tmp_path / "home", witness_url=url_of(keeper)) as house:
        judged(house, "one")
        keeper.status = 500
        with pytest.raises(LedgerError, match="answered 500"):
            evidence.checkpoint(house)
        keeper.status = 0
        evidence.checkpoint(house)
        assert audit.verify_all(house).ok
        keeper.shutdown()
        keeper.server_close()
        with pytest.raises(LedgerError, match="cannot be reached"):
            evidence.checkpoint(house)


@pytest.mark.parametrize(
    ("egress", "listed"),
    [("", False), ("w.example", True), ("w.example:8443", True), ("w.example:443", False)],
)
def test_it_must_be_on_the_allow_list(tmp_path, egress, listed):
    own = settings.load({"home": str(tmp_path), "witness_url": "https://w.example:8443/x", "egress": egress})
    with contextlib.nullcontext() if listed else pytest.raises(SettingsError, match="not in `egress`"):
        far_witness.require_listed(own)
