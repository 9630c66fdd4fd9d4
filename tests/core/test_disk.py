"""Files that appear whole or not at all."""

import os
from pathlib import Path

import pytest

from sekisho.core.disk import sync, write_whole


def test_a_file_is_replaced_whole_and_nothing_stays_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "made" / "file.json"
    write_whole(target, b"first")
    write_whole(target, b"second")
    assert target.read_bytes() == b"second"
    assert list(target.parent.iterdir()) == [target]


def test_a_refusing_disk_leaves_the_old_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "file.json"
    write_whole(target, b"old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(target, b"new and longer")
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_files_and_folders_can_be_synced(tmp_path: Path) -> None:
    write_whole(tmp_path / "file", b"x")
    sync([tmp_path / "file", tmp_path])
    with pytest.raises(FileNotFoundError):
        sync([tmp_path / "missing"])
