"""The file that was opened is the file that is written, and nobody else may read it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from sekisho.core.disk import readable_by_others
from sekisho.core.errors import LedgerError
from sekisho.ledger.store import Ledger

from .makers import judgement

posix_only = pytest.mark.skipif(os.name == "nt", reason="Windows keeps an open file where it is")
ENDINGS = ("", "-wal", "-shm")


def rename(path: Path) -> None:
    for ending in ENDINGS:
        os.rename(f"{path}{ending}", f"{path}.old{ending}")


def remove(path: Path) -> None:
    for ending in ENDINGS:
        os.unlink(f"{path}{ending}")


def remove_the_log(path: Path) -> None:
    os.unlink(f"{path}-wal")


def replace(path: Path) -> None:
    shutil.copy(path, f"{path}.copy")
    os.replace(f"{path}.copy", path)


@posix_only
@pytest.mark.parametrize("lose", [rename, remove, remove_the_log, replace])
def test_nothing_is_acknowledged_once_the_file_is_not_the_one_that_was_opened(ledger, path, lose):
    ledger.append([judgement("before")])
    assert ledger.problem is None
    lose(path)
    with pytest.raises(LedgerError, match="moved, removed or replaced"):
        ledger.append([judgement("after")])
    with pytest.raises(LedgerError, match="moved, removed or replaced"):
        ledger.act(lambda _db, _head: [judgement("acted")])
    assert "moved, removed or replaced" in (ledger.problem or "")


@posix_only
def test_a_file_put_back_is_written_again(ledger, path):
    rename(path)
    with pytest.raises(LedgerError):
        ledger.append([judgement("lost")])
    for ending in ENDINGS:
        os.rename(f"{path}.old{ending}", f"{path}{ending}")
    ledger.append([judgement("kept")])
    assert ledger.problem is None
    assert [e.id for e in ledger.entries()] == ["kept"]


@posix_only
def test_the_files_are_their_owners_alone(tmp_path):
    path = tmp_path / "new" / "ledger.sqlite"
    before = os.umask(0o000)
    try:
        with Ledger.open(path) as ledger:
            ledger.append([judgement()])
            modes = {e: os.stat(f"{path}{e}").st_mode & 0o777 for e in ENDINGS}
    finally:
        os.umask(before)
    assert modes == {"": 0o600, "-wal": 0o600, "-shm": 0o600}
    assert path.parent.stat().st_mode & 0o777 == 0o700


@posix_only
def test_an_older_ledger_that_others_could_read_is_closed_to_them(path):
    with Ledger.open(path):
        pass
    path.chmod(0o644)
    path.parent.chmod(0o755)
    assert readable_by_others([path.parent, path, path / "none"]) == [path.parent, path]
    with Ledger.open(path):
        assert readable_by_others([path.parent, path]) == [path.parent]
