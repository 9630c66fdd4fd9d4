"""The bootstrap: it does nothing when nothing changed, and says what to install where it cannot go on."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def place(tmp_path):
    """A checkout with nothing but what the bootstrap needs."""
    (tmp_path / "tools").mkdir()
    shutil.copy(ROOT / "tools" / "setup.py", tmp_path / "tools")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def load(place: Path):
    spec = importlib.util.spec_from_file_location("bootstrap", place / "tools" / "setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def bootstrap(place: Path, **env: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(place / "tools" / "setup.py")]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **env})


def make_up(place: Path) -> None:
    """Pretend that an environment was made here, by its files."""
    room = load(place)
    room.PYTHON.parent.mkdir(parents=True)
    room.PYTHON.write_text("")
    (room.VENV / "pyvenv.cfg").write_text(
        f"home = /usr/bin\ncommand = /usr/bin/python3 -m venv {room.VENV}\n"
    )
    room.STAMP.write_text(room.stamp())


def test_an_environment_that_is_current_is_left_alone(place):
    make_up(place)
    before = {p: p.stat().st_mtime_ns for p in place.rglob("*")}
    assert bootstrap(place).returncode == 0
    assert {p: p.stat().st_mtime_ns for p in place.rglob("*") if "__pycache__" not in str(p)} == before


def test_a_changed_pyproject_or_another_place_makes_it_stale(place, tmp_path_factory):
    make_up(place)
    assert load(place).is_current()
    moved = tmp_path_factory.mktemp("elsewhere") / "checkout"
    shutil.copytree(place, moved)
    assert not load(moved).is_current()
    assert load(place)._made_here()
    assert not load(moved)._made_here()
    with (place / "pyproject.toml").open("a") as file:
        file.write("\n# changed\n")
    assert not load(place).is_current()


def test_without_the_venv_module_it_says_what_to_install(place):
    broken = place / "broken"
    broken.mkdir()
    (broken / "ensurepip.py").write_text("raise ImportError('No module named ensurepip')")
    ended = bootstrap(place, PYTHONPATH=str(broken), PATH=str(broken))
    assert ended.returncode == 1
    assert f"apt-get install python3.{sys.version_info[1]}-venv" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (place / ".venv").exists()


@pytest.mark.skipif(shutil.which("dpkg-query") is None, reason="not a Debian or Ubuntu")
def test_programs_that_are_missing_are_named_with_what_they_are_for(place, monkeypatch, capsys):
    room = load(place)
    monkeypatch.setattr(room.os, "geteuid", lambda: 1000)
    room._programs(("dpkg", "no-such-package", "nor-this"), "nothing is read")
    assert capsys.readouterr().err == (
        "Without no-such-package nor-this, nothing is read. Later: sudo apt-get install no-such-package nor-this\n"
    )
    room._programs(("dpkg",), "nothing is read")
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(shutil.which("dpkg-query") is None, reason="not a Debian or Ubuntu")
def test_as_root_they_are_installed(place, monkeypatch, capsys):
    room, done = load(place), []
    monkeypatch.setattr(room.os, "geteuid", lambda: 0)
    monkeypatch.setattr(room.shutil, "which", lambda name: f"/usr/bin/{name}")
    real = room._run
    monkeypatch.setattr(
        room, "_run", lambda c, **more: done.append(c[:2]) or 0 if c[0] == "apt-get" else real(c, **more)
    )
    room._programs(("no-such-package",), "nothing is read")
    assert done == [["apt-get", "update"], ["apt-get", "install"]]
    assert capsys.readouterr() == ("Installing no-such-package with apt-get.\n", "")


@pytest.mark.slow
def test_without_a_package_index_it_says_so(place):
    nowhere = {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_RETRIES": "0",
    }
    ended = bootstrap(place, **nowhere)
    assert ended.returncode == 1
    assert "pip could not install torch==" in ended.stderr
    assert not load(place).STAMP.exists()


def test_the_torch_that_is_installed_first_is_the_one_that_is_pinned():
    assert f'"{load(ROOT).TORCH}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


@pytest.mark.skipif(os.name == "nt", reason="a shell script")
def test_continuous_integration_runs_the_same_command():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "make test" in script.read_text()
