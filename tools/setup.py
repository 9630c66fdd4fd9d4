"""Make or renew the environment in `.venv`; does nothing when it is up to date. Runs on Python's standard library alone.

python3 tools/setup.py          (Linux, macOS; `make setup` calls it)
py -3 tools/setup.py            (Windows)

`--tests` also looks after the browser that the tests of pages need.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
STAMP = VENV / "setup-stamp"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
OLDEST = (3, 11)
TORCH = "torch==2.13.0"
PROGRAMS = {
    ("tesseract-ocr", "tesseract-ocr-jpn", "tesseract-ocr-jpn-vert"): "no text is read from images",
    ("fonts-ipafont-gothic", "fonts-ipafont-mincho"): "no PDF and no drawn form has Japanese letters",
}
"""Packages of Debian and Ubuntu, and what is missing without them; the gate needs none."""
TESTED_WITH = (("chromium",), "the tests of pages are skipped")


def main() -> int:
    """Set up and return the exit code."""
    if sys.version_info < OLDEST:
        return _say("Sekisho needs Python 3.11 or newer; this is " + sys.version.split()[0] + ".")
    if "--tests" in sys.argv[1:]:
        _programs(*TESTED_WITH)
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
    for programs, use in PROGRAMS.items():
        _programs(programs, use)
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
    return _apt([_package()]) and _can_make_one()


def _programs(packages: Sequence[str], use: str) -> None:
    """On Debian and Ubuntu, install what is not there; without root, or without the packages, say what is missing and go on."""
    if not shutil.which("dpkg-query"):
        return
    missing = [p for p in packages if _run(["dpkg-query", "-L", p], quiet=True)]
    if missing and not _apt(missing):
        names = " ".join(missing)
        print(f"Without {names}, {use}. Later: sudo apt-get install {names}", file=sys.stderr)


def _apt(packages: Sequence[str]) -> bool:
    """Install packages, as root where there is apt-get; return whether that was done."""
    if not shutil.which("apt-get") or not hasattr(os, "geteuid") or os.geteuid() != 0:
        return False
    print(f"Installing {' '.join(packages)} with apt-get.", flush=True)
    quietly = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
    return not any(_run(c, quiet=True, env=quietly) for c in (["apt-get", "update", "-qq"], install))


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
