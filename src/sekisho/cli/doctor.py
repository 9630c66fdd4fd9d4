"""The doctor's checks: each looks at one thing this machine needs and says what it found and what to do."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.metadata as metadata
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..core.disk import readable_by_others
from ..core.errors import SekishoError
from ..core.settings import Settings
from . import remote

if TYPE_CHECKING:
    from ..wiring import House

PYTHON = (3, 11)
DISK_BYTES = 2 * 1024**3
"""Free space wanted in the home folder: a few releases and training runs."""
MANIFEST = "data/MANIFEST.tsv"
"""Digest of every bundled file, relative to the share folder; `make docs` writes it."""


class Check(NamedTuple):
    """One finding. `do` says what to do when it is not `ok`."""

    name: str
    ok: bool
    found: str
    do: str = ""


def examine(settings: Settings) -> Iterator[Check]:
    """Yield every finding, one as soon as it is made."""
    for check in (_python, _packages, _share, _home, _private, _disk, _port, _device, _awake, _cores):
        yield _run(check, settings)
    yield from _house(settings)


def _run(check: Callable[[Settings], Check], settings: Settings) -> Check:
    """Make one check; an error is its finding, not the end of the examination."""
    name = check.__name__.strip("_")
    try:
        return check(settings)
    except (SekishoError, OSError) as e:
        return _finding(name, e)


def _finding(name: str, error: SekishoError | OSError) -> Check:
    if isinstance(error, SekishoError):
        return Check(name, False, error.what, error.do)
    return Check(name, False, str(error), "Check the path and its rights.")


def _python(_: Settings) -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    return Check("python", sys.version_info >= PYTHON, version, "Install Python 3.11 or newer.")


def _packages(_: Settings) -> Check:
    """Compare what is installed with what this version pins; optional packages count once they are there."""
    wrong, right = [], 0
    for line in metadata.requires("sekisho") or []:
        match = re.match(r"([\w.-]+)(?:\[[^]]*])?==([\w.]+)\s*(;.*extra.*)?", line)
        if match is None:
            continue
        name, wanted, optional = match.groups()
        found = _version(name)
        right += found == wanted
        if found != wanted and not (optional and found is None):
            wrong.append(f"{name} {found or 'missing'}, wanted {wanted}")
    return Check("packages", not wrong, "; ".join(wrong) or f"{right} as pinned", "Run `make setup`.")


def _version(name: str) -> str | None:
    """The installed version without its build mark (`2.13.0+cpu` is 2.13.0)."""
    try:
        return metadata.version(name).partition("+")[0]
    except metadata.PackageNotFoundError:
        return None


def _share(settings: Settings) -> Check:
    """Hash every bundled file again."""
    share: Path = settings.share
    rows = [line.split("\t") for line in (share / MANIFEST).read_text(encoding="utf-8").splitlines()[1:]]
    wrong = [name for name, _, wanted in rows if _sha256(share / name) != wanted]
    told = f"{len(wrong)} of {len(rows)} files missing or changed: {', '.join(wrong[:3])}"
    return Check("share", not wrong, told if wrong else f"{len(rows)} files whole", f"Restore {share}.")


def _sha256(path: Path) -> str | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _home(settings: Settings) -> Check:
    home: Path = settings.home
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    trial = home / f".doctor-{os.getpid()}"
    trial.write_bytes(b"")
    trial.unlink()
    return Check("home", True, f"{home} can be written")


def _private(settings: Settings) -> Check:
    """People's texts lie in the home folder; systems without POSIX rights are passed over."""
    home: Path = settings.home
    open_to_others = readable_by_others([home, *sorted(home.glob("ledger.sqlite*"))])
    told = f"others have rights to {', '.join(map(str, open_to_others))}"
    return Check(
        "private",
        not open_to_others,
        told if open_to_others else "its owner's alone",
        f"Run `chmod -R go= {home}`.",
    )


def _disk(settings: Settings) -> Check:
    free = shutil.disk_usage(settings.home).free
    told = f"{free / 1024**3:.1f} GiB free, {DISK_BYTES / 1024**3:.0f} wanted"
    return Check("disk", free >= DISK_BYTES, told, "Free some space, or set `home` to another disk.")


def _port(settings: Settings) -> Check:
    """A port is fine when it is free, or when Sekisho itself answers there."""
    if remote.health(settings) is not None:
        return Check("port", True, f"{settings.port}: Sekisho answers")
    problem = remote.port_problem(settings)
    told = problem or f"{settings.host}:{settings.port} is free"
    return Check("port", problem is None, told, "Choose another with `--port`, or 0 for a free one.")


def _device(settings: Settings) -> Check:
    from ..host.gpu import require_device

    gpu = require_device(settings.device, settings.engine)
    return Check("device", True, settings.device if gpu is None else f"{settings.device}: {gpu.name}")


def _awake(settings: Settings) -> Check:
    """Nothing is wrong where cores sleep; answers come a little later."""
    from ..host.awake import Awake

    if settings.keep_awake == "off":
        return Check("awake", True, "cores may sleep, as `keep_awake` is off")
    kept = Awake()
    kept.close()
    told = "no core sleeps while real-time requests are open" if kept.problem is None else kept.problem
    return Check("awake", True, told if kept.problem is None else f"cores may sleep ({told})")


def _cores(settings: Settings) -> Check:
    """Nothing is wrong either way."""
    from .. import wiring

    apart = wiring.cores_apart(settings)
    if apart is None:
        return Check("cores", True, "shared by llama.cpp and the server")
    told = [",".join(map(str, sorted(some))) for some in (apart.engine, apart.server)]
    return Check("cores", True, f"{told[0]} for llama.cpp, {told[1]} for the server")


def _house(settings: Settings) -> Iterator[Check]:
    """Check what lies in the house: policy and ledger, and the engine over what is promoted."""
    from .. import wiring

    try:
        house = wiring.build(settings)
    except (SekishoError, OSError) as e:
        yield _finding("house", e)
        return
    try:
        yield _run(lambda _: _ledger(house), settings)._replace(name="ledger")
        yield _run(lambda _: _memory(house), settings)._replace(name="memory")
        yield _run(lambda _: _engine(house), settings)._replace(name="engine")
    finally:
        house.close()


def _ledger(house: House) -> Check:
    from ..loop import audit

    found = audit.verify(house.ledger)
    told = f"{found.entries} entries, whole" if found.ok else str(found.problem)
    return Check("ledger", found.ok, told, "Keep the file as it is and restore a copy; see docs/commands.md.")


def _memory(house: House) -> Check:
    """Compute what serving the promoted release would take; the table is the finding."""
    from .. import wiring
    from ..loop.serving import promoted

    found = promoted(house)
    if found is None:
        return Check("memory", True, "nothing is promoted yet")
    budget = wiring.memory_budget(house.settings, *found)
    if budget is None:
        return Check("memory", True, "not computed for this engine and system")
    told = "; ".join(f"{name} {size}" for name, size in budget.rows())
    most = f"Set `context` to at most {budget.largest}." if budget.largest else "Serve a smaller model."
    return Check("memory", budget.fits, told, most)


def _engine(house: House) -> Check:
    """Start the engine on what is promoted and stop it again."""
    from ..core.errors import ConflictError
    from ..loop.serving import start_serving

    async def trial() -> str:
        serving = await start_serving(house)
        try:
            return f"{serving.engine.info.engine} answers with {serving.engine.info.model}"
        finally:
            await serving.engine.stop()

    try:
        return Check("engine", True, asyncio.run(trial()))
    except ConflictError:
        return Check("engine", True, "nothing is promoted yet; `sekisho up` makes a gate")
