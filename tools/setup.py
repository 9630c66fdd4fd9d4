"""Make or renew the environment in `.venv`; does nothing when it is up to date. Runs on Python's standard library alone.

python3 tools/setup.py          (Linux, macOS; `make setup` calls it)
py -3 tools/setup.py            (Windows)
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
STAMP = VENV / "setup-stamp"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
OLDEST = (3, 11)
TORCH = "torch==2.13.0"


def main() -> int:
    """Set up and return the exit code."""
    if sys.version_info < OLDEST:
        return _say("Sekisho needs Python 3.11 or newer; this is " + sys.version.split()[0] + ".")
    if is_current():
        return 0
    problem = _environment()
    if problem:
        return _say(problem)
    for what in ([TORCH], ["-e", f"{ROOT}[train,ocr,dev]"]):
        # torch comes first and by pip alone: a range, or another installer, may fetch several GB of CUDA packages.
        if _run([str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", *what]):
            return _say(
                "pip could not install " + what[-1] + ". Check the package index (`pip config list`)."
            )
    STAMP.write_text(stamp(), encoding="utf-8")
    return 0


def is_current() -> bool:
    """Whether the environment was made from the present pyproject.toml by this Python, in this place."""
    return PYTHON.exists() and STAMP.exists() and STAMP.read_text(encoding="utf-8") == stamp()


def stamp() -> str:
    """Digest of what the environment depends on."""
    made_of = (ROOT / "pyproject.toml").read_bytes() + f"{sys.version_info[:2]} {ROOT}".encode()
    return "sha256:" + hashlib.sha256(made_of).hexdigest()


def _environment() -> str | None:
    """Make `.venv` unless it is there; return what to do when that is not possible."""
    if _made_here() and _answers("import pip"):
        return None
    shutil.rmtree(VENV, ignore_errors=True)
    if not _can_make_one() and not _installed_by_apt():
        return (
            "Python's venv module is not complete here. On Debian and Ubuntu install it first:\n"
            f"  sudo apt-get install {_package()}\n"
            "(without administrator rights: ask for that package, or use a Python that has it, for example\n"
            "  python3.12 tools/setup.py)"
        )
    if _run([sys.executable, "-m", "venv", str(VENV)]):
        return f"The environment {VENV} could not be made; see the message above."
    return None


def _made_here() -> bool:
    """Whether `.venv` was made in this folder: a moved one still starts the programs of its old place."""
    if not PYTHON.exists():
        return False
    config = (VENV / "pyvenv.cfg").read_text(encoding="utf-8")
    commands = [line for line in config.splitlines() if line.startswith("command = ")]
    return all(line.endswith(str(VENV)) for line in commands)


def _can_make_one() -> bool:
    """Whether `python -m venv` will work: Debian ships it without `ensurepip`."""
    return _run([sys.executable, "-c", "import venv, ensurepip"], quiet=True) == 0


def _installed_by_apt() -> bool:
    """As root on Debian or Ubuntu, install the missing package; return whether venv works now."""
    if not shutil.which("apt-get") or not hasattr(os, "geteuid") or os.geteuid() != 0:
        return False
    print(f"Installing {_package()} with apt-get.", flush=True)
    quietly = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", _package()]):
        if _run(command, env=quietly):
            return False
    return _can_make_one()


def _package() -> str:
    return f"python3.{sys.version_info[1]}-venv"


def _answers(code: str) -> bool:
    return _run([str(PYTHON), "-c", code], quiet=True) == 0


def _run(command: list[str], quiet: bool = False, env: dict[str, str] | None = None) -> int:
    out = subprocess.DEVNULL if quiet else None
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env).returncode


def _say(problem: str) -> int:
    print(problem, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
