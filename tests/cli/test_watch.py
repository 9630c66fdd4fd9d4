from __future__ import annotations

import os
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")


def test_a_watch_of_this_process(cli):
    assert cli("watch", "--pid", str(os.getpid()), "--every", "0.05", "--times", "1").code == 0
    gone = cli("watch", "--pid", str(2**22 + 1), "--times", "1")
    assert (gone.code, "is not there" in gone.err) == (2, True)
    assert "listens on port" in cli("watch", "--port", "1", "--times", "1").err
