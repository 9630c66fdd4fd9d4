from __future__ import annotations

import psutil
import pytest

from sekisho.host.memory import available


def test_it_is_what_the_system_says():
    found = available()
    assert found is not None
    assert 0 < found <= psutil.virtual_memory().total


@pytest.mark.parametrize(
    ("most", "now", "files", "want"),
    [
        ("max", "5", "0", 4096),
        ("3000", "1000", "500", 2500),
        ("1000", "2000", "0", 0),
        ("99999", "1", "0", 4096),
    ],
)
def test_a_container_has_what_it_may_take(tmp_path, most, now, files, want):
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:       4 kB\n")
    for name, value in {"max": most, "current": now, "stat": f"anon 7\ninactive_file {files}\n"}.items():
        (tmp_path / f"memory.{name}").write_text(value + "\n")
    assert available(tmp_path / "meminfo", tmp_path) == want


def test_a_system_without_these_files_is_asked_otherwise(tmp_path):
    found = available(tmp_path / "none", tmp_path)
    assert found is None or found > 0
