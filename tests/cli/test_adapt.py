from __future__ import annotations

import json

import pytest

from loop import nli_house as made
from loop import nli_makers as makers
from sekisho.cli.main import run


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return makers.tiny(tmp_path_factory.mktemp("nli") / "tiny")


@pytest.fixture
def home(tmp_path, model):
    """A home with two answers and a proved adapter."""
    with made.house(tmp_path / "home", model) as house:
        ids = [made.judged(house, model, premise=str(i), source="s") for i in range(2)]
        adapter = made.shelve(house, model, "one")
        made.proved(house, model, adapter)
    return tmp_path / "home", ids, adapter


@pytest.fixture
def call(home, model, capfdbinary):
    def said(*args):
        code = run([*args, "--json", "--home", str(home[0]), "--nli-model", str(model)])
        out, err = capfdbinary.readouterr()
        return code, json.loads(out) if out.strip() else json.loads(err)

    return said


def test_words_and_the_trigger(call, home, tmp_path):
    _, (one, two), _ = home
    assert (
        call("feedback", "file", one, "--label", "refutes", "--reason", "read it", "--by", "hana")[1]["by"]
        == "hana"
    )
    assert call("feedback", "file", two, "--action", "right", "--reason", "x")[0] == 0

    def counted():
        code, found = call("adapt", "status")
        trigger = found["trigger"]
        return code, trigger["corrections"], trigger["reviewed"], found["due"], found["learnable"]

    assert counted() == (0, 1, 2, False, 2)
    assert (
        call("feedback", "file", two, "--level", "source", "--action", "reject", "--reason", "x")[1]["level"]
        == "source"
    )
    assert call("feedback", "file", two, "--label", "maybe", "--reason", "x")[0] == 2
    assert counted() == (0, 0, 0, False, 0)
    assert call("feedback", "export", "--out", str(tmp_path / "x.jsonl"))[1]["rows"] == 3
    assert call("feedback", "import", str(tmp_path / "x.jsonl"))[1]["filed"] == 3
    assert call("feedback", "import", str(tmp_path / "absent"))[0] == 2
    assert call("adapt", "train", "--if-due")[1]["error"]["code"] == "conflict"
    assert call("adapt", "plot", "--out", str(tmp_path / "x.svg"))[1]["points"] == 1


def test_loading_and_the_way_back(call, home):
    adapter = home[2]
    assert call("adapt", "promote", "--by", "ken")[1]["adapter"] == adapter
    assert call("adapt", "load", adapter[7:20])[1]["error"]["code"] == "conflict"
    assert call("adapt", "rollback")[1]["adapter"] is None
    assert call("adapt", "load", adapter[7:20])[1]["adapter"] == adapter
    assert call("adapt", "unload")[1]["adapter"] is None
    assert call("adapt", "load", "../x")[0] == 2
    found = call("adapt", "list")[1]
    assert [s["step"] for s in found["steps"]] == ["promote", "rollback", "load", "unload"]
    assert found["adapters"][0]["proof"] == "passed"
    assert call("adapt", "prove")[0] == 2


def test_in_words(home, model, capfdbinary):
    for command in (["status"], ["list"]):
        assert run(["adapt", *command, "--home", str(home[0]), "--nli-model", str(model)]) == 0
    out = capfdbinary.readouterr().out.decode()
    assert "training due" in out
    assert "does not hold" in out


def test_calibrations_of_the_ledger(call):
    assert call("calibrate", "--versions")[1] == []
    for args, code in (
        (["--rollback"], "conflict"),
        (["--task", "nli"], "proof"),
        (["--apply", "platt"], "proof"),
        (["--apply", "magic"], "invalid_input"),
        (["--task", "nothing"], "invalid_input"),
        ([], "invalid_input"),
        (["--versions", "--rollback"], "invalid_input"),
    ):
        assert call("calibrate", *args)[1]["error"]["code"] == code, args


def test_a_model_that_is_not_there(home, capfdbinary):
    assert run(["adapt", "status", "--home", str(home[0]), "--nli-model", "absent", "--json"]) == 2
    assert b"nano-nli" in capfdbinary.readouterr().err
