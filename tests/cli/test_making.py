from __future__ import annotations

import subprocess
import sys

import pytest

from sekisho.cli.people import name_of
from sekisho.core.canonical import short


def test_promote_and_roll_back(cli, promoted):
    first, second = promoted
    done = cli("promote", short(second), "--by", "me", "--json").document
    assert (done["release"], done["previous"], done["by"]) == (second, first, "me")
    assert cli("promote", second).code == 2
    back = cli("rollback", "--json").document
    assert (back["release"], back["rollback"]) == (first, True)


def test_what_is_not_there_says_what_to_do(cli):
    for args, cure in [
        (("promote",), "sekisho bake"),
        (("promote", "abc"), "On the shelf: none"),
        (("rollback",), "audit show"),
        (("bake",), "sekisho prove"),
    ]:
        ended = cli(*args)
        assert ended.code == 2
        assert cure in ended.err
        assert "Traceback" not in ended.err


def test_a_recipe_that_is_not_there_is_named(cli):
    ended = cli("pretrain", "no-such-recipe")
    assert ended.code == 2
    assert "no-such-recipe" in ended.err


@pytest.mark.slow
def test_gather_writes_a_manifest(cli, house):
    done = cli("gather", "--json")
    assert done.code == 0
    assert set(done.document["files"]) >= {"train", "calibration", "holdout"}
    assert (house.settings.home / "data" / "gate" / "manifest.json").is_file()
    assert "gather: 100 %" in done.err


def test_an_evaluation_file_that_is_not_there_is_named(cli, tmp_path):
    ended = cli("gather", "--evaluation-file", str(tmp_path / "none.jsonl"))
    assert ended.code in {1, 2}
    assert "none.jsonl" in ended.err
    assert "Traceback" not in ended.err


def test_who_gives_the_command(monkeypatch):
    assert name_of("me") == "me"
    monkeypatch.setenv("LOGNAME", "clerk")
    assert name_of(None) == "clerk"
    monkeypatch.setattr("getpass.getuser", lambda: (_ for _ in ()).throw(OSError()))
    assert name_of(None) == "operator"


def test_two_at_once_is_a_clear_error(cli, house):
    home = str(house.settings.home)
    code = "import sys; from pathlib import Path; from sekisho.host.lock import alone\nwith alone(Path(sys.argv[1])): print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, f"{home}/making.lock"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        for verb in ("gather", "finetune", "prove", "bake", "report"):
            ended = cli(verb)
            assert (ended.code, "Another command is at work" in ended.err) == (2, True), verb
        other.kill()
