from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sekisho.core.errors import ConflictError
from sekisho.host.lock import alone

_CHILD = """
import sys
from pathlib import Path
from sekisho.host.lock import alone
with alone(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_process_at_a_time_and_a_killed_one_lets_go(tmp_path: Path) -> None:
    path = tmp_path / "home" / "making.lock"
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        with pytest.raises(ConflictError, match="Another command is at work"), alone(path):
            pass
        child.kill()
    with alone(path) as first:
        assert first


def test_a_step_inside_a_step_is_the_same_holder(tmp_path: Path) -> None:
    for _ in range(2):
        with alone(tmp_path / "lock") as outer, alone(tmp_path / "lock") as inner:
            assert (outer, inner) == (True, False)
