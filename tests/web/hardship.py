"""A real application over a ledger in trouble, in a process of its own: prints what clients were told and what the ledger holds.

    python hardship.py disk|locks FOLDER

`disk` mounts a small file system over FOLDER (in a mount namespace of its own: `unshare -rm`), fills it, then starts again on it read-only. `locks`
makes SQLite's own `fcntl` fail as on a network share without a lock service (ENOLCK), by SQLite's xSetSystemCall.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import errno
import json
import subprocess
import sys
from pathlib import Path

from starlette.testclient import TestClient

from sekisho.core.errors import SekishoError
from sekisho.ledger import schema
from sekisho.web.app import create_app

sys.path.insert(0, str(Path(__file__).parents[1]))
from web import makers

SetLk, SetLkW = 6, 7
"""F_SETLK and F_SETLKW of Linux."""


def main(kind: str, folder: Path) -> None:
    home, acts = folder / "home", {"disk": disk, "locks": locks}[kind]
    if kind == "disk":
        mount("-t", "tmpfs", "-o", "size=900k", "none", str(folder))
    schema.BUSY_SECONDS = 0.2
    with makers.house(home) as house:
        judge = makers.judge_over(house)
        with TestClient(create_app(house, judge), base_url="http://127.0.0.1:8000") as client:
            found = acts(Told(client, house), folder)
        found["entries"] = house.ledger.count("judgement")
        found["whole"] = house.ledger.verify().ok
    if kind == "disk":
        found["read-only"] = read_only(home, folder)
    print(json.dumps(found))


class Told:
    """Asks, and remembers the judgements that were answered with."""

    def __init__(self, client: TestClient, house) -> None:
        self.client, self.house = client, house
        self.answered: list[str] = []

    def ask(self) -> tuple[int, str]:
        answer = self.client.post("/v1/gate", json={"text": makers.FAMILIAR + " ?" * 2000})
        if answer.status_code == 200:
            self.answered.append(answer.json()["id"])
        return answer.status_code, answer.text

    def health(self) -> int:
        return self.client.get("/healthz").status_code

    def kept(self) -> bool:
        return all(self.house.ledger.get(id) is not None for id in self.answered)


def disk(told: Told, folder: Path) -> dict:
    full = next(a for a in iter(told.ask, None) if a[0] != 200)
    found = {"full": full, "full health": told.health(), "answered": len(told.answered)}
    mount("-o", "remount,size=8m", str(folder))
    found["after space"] = told.ask()[0]
    return found | {"health": told.health(), "kept": told.kept()}


def read_only(home: Path, folder: Path) -> str:
    """What a start says when the file system became read-only."""
    mount("-o", "remount,ro", str(folder))
    try:
        with makers.house(home):
            return "it started"
    except SekishoError as e:
        return str(e)


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


class Vfs(ctypes.Structure):
    """The head of sqlite3_vfs, version 3."""


Vfs._fields_ = [
    *((n, ctypes.c_int) for n in ("version", "file_size", "longest_path")),
    *((n, ctypes.c_void_p) for n in ("next", "name", "app")),
    *((n, ctypes.c_void_p) for n in ("open", "delete", "access", "full", "dl1", "dl2", "dl3", "dl4")),
    ("random", ctypes.c_void_p),
    ("sleep", ctypes.c_void_p),
    *((n, ctypes.c_void_p) for n in ("time", "last_error", "time64")),
    ("set_call", ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)),
    ("get_call", ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)),
]
Sleep = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
Fcntl = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_void_p, use_errno=True)


def locks(told: Told, _: Path) -> dict:
    library = ctypes.CDLL(ctypes.util.find_library("sqlite3"))
    library.sqlite3_vfs_find.restype = ctypes.POINTER(Vfs)
    vfs = library.sqlite3_vfs_find(None)
    before = vfs.contents.get_call(ctypes.cast(vfs, ctypes.c_void_p), b"fcntl")
    real, calls = Fcntl(before), []

    def failing(file: int, command: int, argument: int | None) -> int:
        if command in (SetLk, SetLkW):
            calls.append(command)
            ctypes.set_errno(errno.ENOLCK)
            return -1
        return real(file, command, argument)

    # SQLite waits ten seconds in all before it gives such a lock up; here it gives up at once.
    at_once = Sleep(lambda _vfs, _micros: 0)
    waits, vfs.contents.sleep = vfs.contents.sleep, ctypes.cast(at_once, ctypes.c_void_p).value
    broken = Fcntl(failing)
    found = {"before": told.ask()[0]}
    vfs.contents.set_call(ctypes.cast(vfs, ctypes.c_void_p), b"fcntl", ctypes.cast(broken, ctypes.c_void_p))
    found |= {"locks": told.ask(), "locks health": told.health(), "calls": len(calls)}
    vfs.contents.set_call(ctypes.cast(vfs, ctypes.c_void_p), b"fcntl", before)
    vfs.contents.sleep = waits
    return found | {"after": told.ask()[0], "answered": len(told.answered), "kept": told.kept()}


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
