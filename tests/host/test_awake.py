from __future__ import annotations

import asyncio
import struct

import pytest

from sekisho.host import awake
from sekisho.host.awake import Awake

NOW, WHENEVER = struct.pack("i", 0), struct.pack("i", 2_000_000_000)


@pytest.fixture
def device(tmp_path, monkeypatch):
    monkeypatch.setattr(awake, "LINGER", 0.05)
    path = tmp_path / "cpu_dma_latency"
    path.touch()
    return path


def said(device) -> list[bytes]:
    told = device.read_bytes()
    return [told[i : i + 4] for i in range(0, len(told), 4)]


def test_cores_are_awake_while_anybody_waits_and_a_moment_longer(device):
    async def play():
        kept = Awake(device)
        assert kept.problem is None
        with kept.held(), kept.held():
            assert said(device) == [WHENEVER, NOW]
        with kept.held():  # soon after: nothing new is said
            await asyncio.sleep(0.1)
            assert said(device) == [WHENEVER, NOW]
        await asyncio.sleep(0.1)
        assert said(device) == [WHENEVER, NOW, WHENEVER]
        with pytest.raises(ValueError), kept.held():  # noqa: PT012
            assert said(device)[-1] == NOW
            raise ValueError
        kept.close()
        kept.close()
        await asyncio.sleep(0.1)
        with kept.held():
            pass
        assert len(said(device)) == 4

    asyncio.run(play())


def test_where_the_device_may_not_be_written_nothing_happens(tmp_path):
    kept = Awake(tmp_path / "absent")
    assert "absent" in kept.problem
    with kept.held(), kept.held():
        pass
    kept.close()
