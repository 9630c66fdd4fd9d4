"""The supervisor over small programs that stand where the child stands: what it hands on, hears, says and counts."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys

import pytest

from sekisho import metrics
from sekisho.core.errors import EngineError
from sekisho.serve.engines.supervisor import Child, CrashError, Launch, Supervisor

LAUNCH = Launch("no.gguf", 512, 1, 1)
GOOD = """echo '{"address": "http://127.0.0.1:9"}'; exec sleep 60"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Put a shell script where the child's Python stands."""
    path = tmp_path / "child"
    path.touch(0o755)
    monkeypatch.setattr("sys.executable", str(path))
    return lambda script: path.write_text(f"#!/bin/sh\n{script}\n")


def counted() -> tuple[float, float]:
    found = [
        metrics.REGISTRY.get_sample_value(f"sekisho_engine_{what}_total") for what in ("deaths", "restarts")
    ]
    return found[0] or 0.0, found[1] or 0.0


async def until(true) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "line", ["nonsense", "3", "{}", '{"address": 3}', '{"address": "http://x:y"}', "x" * 100_000]
)
def test_a_first_line_that_cannot_be_read_is_a_crash(program, tmp_path, line):
    (tmp_path / "line").write_text(f"{line}\n")
    program(f"cat {tmp_path / 'line'}; exec sleep 60")
    with pytest.raises(CrashError):
        asyncio.run(Child.launch(LAUNCH, 20))


def test_a_death_and_a_restart_are_in_the_log_and_counted_and_the_guard_says_when_it_gives_up(
    program, caplog
):
    caplog.set_level(logging.INFO, "sekisho.llamacpp")

    async def story():
        supervisor = Supervisor(LAUNCH, restarts=1, pause=0.01)
        program(GOOD)
        await supervisor.start()
        first, before = supervisor.pid, counted()
        os.kill(first, signal.SIGKILL)
        await until(lambda: supervisor.pid not in (None, first))
        assert counted() == (before[0] + 1, before[1] + 1)
        program("echo nonsense")
        os.kill(supervisor.pid, signal.SIGKILL)
        await until(supervisor._guard.done)
        assert counted() == (before[0] + 2, before[1] + 1)
        with pytest.raises(EngineError, match="not be started again"):
            supervisor.require_up()
        await supervisor.stop()

    asyncio.run(story())
    said = [(r.levelname, r.getMessage()) for r in caplog.records if r.name == "sekisho.llamacpp"]
    assert [level for level, _ in said] == ["WARNING", "INFO", "WARNING", "ERROR"]
    assert "ended with -9" in said[0][1]
    assert "serves again" in said[1][1]


def test_the_child_gets_no_setting_of_ours(program, tmp_path, monkeypatch):
    monkeypatch.setenv("SEKISHO_TOKENS", "secret")
    monkeypatch.setenv("OTHER", "kept")
    program(f"env > {tmp_path / 'env'}; {GOOD}")

    async def story():
        child = await Child.launch(LAUNCH, 20)
        await child.close()

    asyncio.run(story())
    seen = (tmp_path / "env").read_text()
    assert "SEKISHO" not in seen
    assert "OTHER=kept" in seen
