from __future__ import annotations

import io
import sys

import pytest

from sekisho.web.schemas import GateAnswer

from .conftest import ASKED


def stdin(monkeypatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))


def test_nothing_promoted_says_what_to_do(cli):
    ended = cli("judge", "gate", "--text", "x")
    assert ended.code == 2
    assert "sekisho up" in ended.err


def test_a_judgement_is_in_the_ledger_and_has_the_servers_form(cli, promoted):
    judged = cli("judge", "gate", "--text", ASKED, "--json")
    assert judged.code == 0
    assert set(judged.document) == set(GateAnswer.model_fields)
    kept = cli("audit", "show", judged.document["id"]).document["record"]
    assert kept["decision"] == judged.document["decision"]
    assert kept["stamp"]["engine"] == "fake"
    shown = cli("judge", "gate", "--text", ASKED).out
    assert f"decision       {kept['decision']}" in shown


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_the_request_may_come_from_stdin(cli, promoted, monkeypatch, end):
    stdin(monkeypatch, ASKED.encode() + end)
    judged = cli("judge", "gate", "--text", "-", "--json").document
    assert cli("audit", "show", judged["id"]).document["content"]["requests"] == [ASKED]


def test_stdin_that_is_not_utf8_is_refused(cli, promoted, monkeypatch):
    stdin(monkeypatch, b"abc\xff")
    ended = cli("judge", "gate", "--text", "-")
    assert ended.code == 2
    assert "not UTF-8 (byte 3)" in ended.err


@pytest.mark.parametrize("text", ["", "   ", "\n"])
def test_an_empty_request_is_refused(cli, promoted, text):
    ended = cli("judge", "gate", "--text", text)
    assert ended.code == 2
    assert "empty" in ended.err


def test_unknown_contracts_name_the_known_ones(cli, promoted):
    ended = cli("judge", "gate", "--text", ASKED, "--contract", "moon")
    assert ended.code == 2
    assert "medical" in ended.err


def test_corrections_keep_the_machines_answer(cli, promoted):
    judged = cli("judge", "gate", "--text", ASKED, "--json").document
    for label in ("ALLOW", "DENY"):
        filed = cli("correct", judged["id"], "--label", label, "--reason", "a test", "--by", "me", "--json")
        assert filed.code == 0
        assert filed.document["was"] == judged["decision"]
        assert filed.document["by"] == "me"
    assert cli("correct", judged["id"], "--label", "allow", "--reason", "x").code == 2
    assert cli("correct", judged["id"], "--label", "DENY", "--reason", " ").code == 2
    assert cli("correct", "jdg_none", "--label", "DENY", "--reason", "x").code == 2
    assert cli("correct", " ", "--label", "DENY", "--reason", "x").code == 2
