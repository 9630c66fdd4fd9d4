from __future__ import annotations

import asyncio

import pytest

from sekisho import wiring
from sekisho.core import settings
from sekisho.core.access import secret_digest
from sekisho.core.errors import ConflictError, LedgerError, SettingsError
from sekisho.loop import keys
from sekisho.loop.correct import correct
from sekisho.loop.promote import promote, rollback

from .conftest import judged


def open_house(home, **flags):
    return wiring.build(settings.load({"home": str(home), "engine": "fake", **flags}, env={}))


def test_a_ring_sees_what_another_process_changed(house):
    now = [0.0]
    ring = keys.Ring(house, lambda: now[0])
    asyncio.run(ring.refresh())
    record, secret = keys.make(house, "hana", ["judge"], "test")
    assert ring.find(secret_digest(secret)) is None
    now[0] += keys.FRESH_SECONDS
    asyncio.run(ring.refresh())
    assert ring.find(secret_digest(secret)).key == record.key
    assert ring.ever


def test_when_the_ledger_cannot_be_read_nobody_comes_in(house):
    ring = keys.Ring(house)
    house.ledger.close()
    for _ in range(2):
        with pytest.raises(LedgerError):
            asyncio.run(ring.refresh())


def test_another_address_needs_a_key_and_whole_tls(tmp_path):
    files = {name: tmp_path / f"{name}.pem" for name in ("tls_cert", "tls_key")}
    flags = {name: str(path) for name, path in files.items()}
    with pytest.raises(SettingsError, match="no such file"):
        keys.require_keys(open_house(tmp_path / "a", tls_cert=flags["tls_cert"]))
    for path in files.values():
        path.touch()
    house = open_house(tmp_path / "b", host="0.0.0.0", **flags)
    with pytest.raises(ConflictError, match="no API key"):
        keys.require_keys(house)
    keys.make(house, "hana", ["judge"], "test")
    keys.require_keys(house)
    keys.require_keys(open_house(tmp_path / "c"))


def test_who_corrects_does_not_promote_where_duties_are_separate(tmp_path):
    for separate, message in (("on", "Duties"), ("off", "no release")):
        house = open_house(tmp_path / separate, separate_duties=separate)
        correct(house.ledger, judged(house, "x").id, "DENY", "because", "hana")
        for act in (promote, rollback):
            with pytest.raises(ConflictError, match=message if act is promote else "Duties|no earlier"):
                act(house, by="hana")
        with pytest.raises(ConflictError, match="no release"):
            promote(house, by="ken")
        house.close()
