"""The house stands as it is drawn: imports go one way, the map shows what is there, and light commands stay light."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "sekisho"
HEAVY = {"torch", "transformers", "matplotlib", "sklearn", "scipy", "peft", "xllamacpp", "llvmlite"}
HELP_SECONDS = 5.0
"""Far above what it takes: the limit must hold on a loaded machine. What would make it slow is tested by name."""


def test_imports_go_one_way():
    linted = subprocess.run(
        [Path(sys.executable).parent / "lint-imports"], capture_output=True, text=True, cwd=ROOT
    )
    assert linted.returncode == 0, linted.stdout
    assert "5 kept, 0 broken" in linted.stdout


def drawn() -> set[str]:
    """Paths in README's tree, relative to the repository; folders end with a slash."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"<!-- begin tree -->\n```text\n(.*?)```", text, re.DOTALL)[1]
    paths, stack = set(), []
    for line in block.splitlines():
        depth = (len(line) - len(line.lstrip())) // 4
        name = line.split()[0]
        stack[depth:] = [name]
        paths.add("".join(stack))
    return paths


def test_the_map_shows_every_file_of_the_package():
    files = {p.relative_to(ROOT).as_posix() for p in PACKAGE.rglob("*.py") if p.name != "__init__.py"}
    shown = {p for p in drawn() if p.endswith(".py")}
    assert len(files) > 60
    assert shown == files


def test_the_map_shows_every_folder():
    rooms = {f"{p.parent.relative_to(ROOT).as_posix()}/" for p in PACKAGE.rglob("*.py")}
    shown = {p for p in drawn() if p.endswith("/")}
    assert rooms <= shown
    assert all((ROOT / p).is_dir() for p in shown)
    top = {f"{p.name}/" for p in ROOT.iterdir() if p.is_dir() and not p.name.startswith(".")}
    assert top - {"src/", "build/", "dist/"} <= shown


def test_every_room_says_what_it_is():
    for path in PACKAGE.rglob("*.py"):
        assert path.read_text(encoding="utf-8").startswith('"""'), f"{path} has no docstring"


def loaded_by(code: str, **env: str) -> set[str]:
    """Modules in `sys.modules` after some code, run in a process of its own."""
    import os

    ended = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint('\\nMODULES', *sys.modules)"],
        capture_output=True,
        text=True,
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
    )
    assert ended.returncode == 0, ended.stderr
    return set(ended.stdout.rsplit("MODULES", 1)[1].split())


def command(*args: str) -> str:
    return f"from sekisho.cli.main import run\ncode = run({list(args)!r})\nassert code in (0, 2), code"


@pytest.mark.parametrize(
    "args",
    [
        ("--help",),
        ("finetune", "--help"),
        ("settings",),
        ("audit", "verify"),
        ("audit", "show"),
        ("correct", "jdg_x", "--label", "DENY", "--reason", "x"),
        ("rollback",),
        ("rubric", "lint"),
        ("judge", "gate", "--text", "x", "--engine", "fake"),
        ("serve", "--engine", "fake", "--port", "0"),
    ],
    ids=" ".join,
)
def test_light_commands_load_nothing_heavy(args):
    modules = loaded_by(command(*args))
    assert "sekisho.cli.main" in modules
    assert modules & HEAVY == set()


def test_help_needs_no_web_server_either():
    assert loaded_by(command("--help")) & {"fastapi", "uvicorn", "httpx", "numpy", "sqlite3"} == set()


def test_a_served_fake_engine_has_no_torch_in_it():
    code = """
import asyncio
from sekisho.serve.engines.fake import FakeEngine
from sekisho.core.question import gate_question
import sekisho.web.app, sekisho.loop.judge, sekisho.loop.serving, sekisho.wiring
async def main():
    engine = FakeEngine()
    await engine.start()
    assert await engine.ask("x", [gate_question()], 5.0)
    await engine.stop()
asyncio.run(main())
"""
    assert loaded_by(code) & HEAVY == set()


def test_help_is_quick():
    ended = subprocess.run(
        [sys.executable, "-m", "sekisho", "--help"], capture_output=True, timeout=HELP_SECONDS
    )
    assert ended.returncode == 0
    assert b"Usage: sekisho" in ended.stdout


def test_python_dash_m_is_the_same_program():
    shown = [
        subprocess.run(command, capture_output=True, check=True).stdout
        for command in (
            [sys.executable, "-m", "sekisho", "--version"],
            [Path(sys.executable).parent / "sekisho", "--version"],
        )
    ]
    assert shown[0] == shown[1]
