from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import pytest

from sekisho.cli import doctor
from sekisho.core.settings import load
from sekisho.core.table import TABLE


def rows(outcome) -> dict[str, dict]:
    return {r["name"]: r for r in outcome.document}


def test_settings_shows_every_value_and_its_source(cli, monkeypatch):
    monkeypatch.setenv("SEKISHO_SLOTS", "3")
    shown = rows(cli("settings", "--port", "1234", "--json"))
    assert set(shown) == {s.name for s in TABLE}
    assert (shown["port"]["value"], shown["port"]["source"]) == (1234, "flag")
    assert (shown["slots"]["value"], shown["slots"]["source"]) == (3, "env")
    assert shown["queue"]["source"] == "default"
    table = cli("settings").out
    assert all(s.name in table for s in TABLE)


def test_every_setting_is_a_flag(cli):
    flags = [f for spec in TABLE for f in ("--" + spec.name.replace("_", "-"), _some_value(spec))]
    shown = rows(cli("settings", *flags, "--json"))
    assert {name for name, row in shown.items() if row["source"] == "flag"} == {spec.name for spec in TABLE}


def _some_value(spec):
    default = spec.value_of_default()
    unset = "http://127.0.0.1:1" if spec.name.endswith("_url") else "x"
    return unset if default is None else str(default)


def test_tokens_are_never_shown(cli):
    for extra in ([], ["--json"]):
        ended = cli("settings", "--tokens", "very-secret", *extra)
        assert ended.code == 0
        assert "very-secret" not in ended.out + ended.err
        assert "(set)" in ended.out


def test_wrong_settings_are_named_and_nothing_else_is_shown(cli):
    ended = cli("settings", "--port", "x", "--retention", "abc")
    assert (ended.code, ended.out) == (2, "")
    assert "port: expected a whole number" in ended.err
    assert "retention: expected days from 0 to 36500, got 'abc'\n" in ended.err


@pytest.mark.skipif(os.name == "nt", reason="a check of POSIX rights")
def test_a_home_that_others_may_read_is_found(checks, tmp_path):
    home = tmp_path / "open"
    home.mkdir()
    home.chmod(0o755)
    found = checks(home=str(home))["private"]
    assert not found.ok
    assert str(home) in found.found
    home.chmod(0o700)
    assert checks(home=str(home))["private"].ok


def test_a_settings_file_is_read(cli, tmp_path):
    file = tmp_path / "s.toml"
    file.write_text("slots = 5\n")
    shown = rows(cli("settings", "--config", str(file), "--json"))
    assert (shown["slots"]["value"], shown["slots"]["source"]) == (5, "file")
    assert cli("settings", "--config", str(tmp_path / "none.toml")).code == 2


@pytest.fixture
def checks(monkeypatch):
    monkeypatch.setenv("SEKISHO_PORT", str(free_port()))

    def examine(**flags: str) -> dict[str, doctor.Check]:
        return {c.name: c for c in doctor.examine(load(flags=flags))}

    return examine


def free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return trial.getsockname()[1]


NAMES = [
    "python",
    "packages",
    "share",
    "home",
    "private",
    "disk",
    "port",
    "device",
    "awake",
    "cores",
    "ledger",
    "memory",
    "engine",
]


def test_the_doctor_looks_at_everything(cli, promoted, monkeypatch):
    monkeypatch.setenv("SEKISHO_PORT", str(free_port()))
    found = cli("doctor", "--json")
    assert [c["name"] for c in found.document["checks"]] == NAMES
    assert [c for c in found.document["checks"] if not c["ok"]] == []
    assert (found.code, found.document["ok"]) == (0, True)
    told = {c["name"]: c["found"] for c in found.document["checks"]}
    assert told["engine"] == "fake answers with first"
    assert int(told["share"].split()[0]) > 30
    assert all(name in cli("doctor").out for name in NAMES)


def test_a_taken_port_is_found(cli):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        found = cli("doctor", "--port", str(taken.getsockname()[1]), "--json")
    port = next(c for c in found.document["checks"] if c["name"] == "port")
    assert not port["ok"]
    assert "--port" in port["do"]
    assert found.code == 1


def test_a_changed_or_missing_bundled_file_is_found(checks, tmp_path):
    share = tmp_path / "share"
    root = load().share
    shutil.copytree(root / "policies", share / "policies")
    (share / "data").mkdir()
    lines = (root / doctor.MANIFEST).read_text(encoding="utf-8").splitlines()
    small = [line for line in lines[1:] if 0 < int(line.split("\t")[1]) < 20_000][:3]
    for line in small:
        name = line.split("\t")[0]
        (share / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / name, share / name)
    (share / doctor.MANIFEST).write_text("\n".join([lines[0], *small]), encoding="utf-8")
    assert checks(share=str(share))["share"].found == "3 files whole"
    first = share / small[0].split("\t")[0]
    first.write_bytes(first.read_bytes() + b" ")
    (share / small[1].split("\t")[0]).unlink()
    found = checks(share=str(share))["share"]
    assert not found.ok
    assert found.found.startswith("2 of 3 files missing or changed")
    assert not checks(share=str(tmp_path / "nowhere"))["share"].ok


def test_an_absent_gpu_is_found(checks):
    from sekisho.host.gpu import require_device

    try:
        gpu = require_device("cuda", "llamacpp")
    except Exception:
        gpu = None
    assert checks(device="cuda")["device"].ok == (gpu is not None)


def test_a_home_that_is_a_file_is_found(checks, tmp_path):
    home = tmp_path / "home"
    home.write_text("x")
    found = checks(home=str(home))
    assert not found["home"].ok


def test_a_damaged_ledger_is_found(checks, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "ledger.sqlite").write_bytes(b"no database" * 500)
    found = checks(home=str(home))["house"]
    assert not found.ok
    assert "no ledger" in found.found
    assert found.do


def test_packages_that_differ_from_the_pins_are_named(monkeypatch):
    wanted = ["typer==0.0.1", "no-such-package==1.0", "absent==1; extra == 'train'", "httpx>=0"]
    monkeypatch.setattr("importlib.metadata.requires", lambda _: wanted)
    found = doctor._packages(load())
    assert not found.ok
    assert "typer" in found.found
    assert "no-such-package missing" in found.found
    assert "absent" not in found.found


def test_the_manifest_lies_where_the_doctor_looks():
    assert (Path(load().share) / doctor.MANIFEST).is_file()
