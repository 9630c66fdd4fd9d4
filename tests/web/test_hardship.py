"""The service over a ledger in real trouble refuses to answer rather than answer unaudited, says why, and takes up again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("hardship.py")
MOUNTS = ["unshare", "-rm"]


def can_mount(folder: Path) -> bool:
    tried = [*MOUNTS, "mount", "-t", "tmpfs", "none", str(folder)]
    return shutil.which("unshare") is not None and subprocess.run(tried, capture_output=True).returncode == 0


def endure(kind: str, folder: Path, *before: str) -> tuple[dict, str]:
    ended = subprocess.run(
        [*before, sys.executable, str(SCRIPT), kind, str(folder)], capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    return json.loads(ended.stdout.splitlines()[-1]), ended.stderr


def test_a_full_disk_and_one_that_is_read_only(tmp_path):
    if not can_mount(tmp_path):
        pytest.skip("this user may mount nothing")
    found, log = endure("disk", tmp_path, *MOUNTS)
    status, words = found["full"]
    assert (status, found["full health"]) == (503, 503)
    assert "no room to grow" in words + log
    assert found["answered"] > 1
    assert (found["after space"], found["health"]) == (200, 200)
    assert found["kept"]
    assert found["whole"]
    assert found["entries"] == found["answered"] + 1
    assert "ledger" in found["read-only"]
    assert "may not be written" in found["read-only"] or "cannot be" in found["read-only"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX locks")
def test_locks_that_fail_as_on_a_network_share(tmp_path):
    found, _ = endure("locks", tmp_path)
    assert found["before"] == found["after"] == 200
    status, words = found["locks"]
    assert (status, found["locks health"]) == (503, 503)
    assert "network share without a lock service" in words
    assert found["calls"] > 0
    assert found["kept"]
    assert found["whole"]
    assert found["entries"] == found["answered"] == 2
