from __future__ import annotations

import base64
import json
import os
import stat
from pathlib import Path

from benchmarking import load_script

from .conftest import ASKED, _home

SECRET = "患者番号は七七三一九です。"


def test_a_checkpoint_is_signed_witnessed_and_checked(cli, promoted, tmp_path):
    witness = tmp_path / "elsewhere" / "witness.jsonl"
    made = cli("audit", "checkpoint", "--json", "--witness", str(witness))
    assert made.code == 0
    key = Path(_home()) / "keys" / "ledger.pem"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert made.document["key"].startswith("ed25519:")
    shown = cli("audit", "checkpoint", "--witness", str(witness))
    assert made.document["key"] in shown.out
    assert str(witness) in shown.out
    assert len(witness.read_text().splitlines()) == 2
    found = cli("audit", "verify", "--json", "--witness", str(witness)).document
    assert (found["ok"], found["witness"]) == (True, str(witness))
    assert "a cut tail would not show" in cli("audit", "verify").out
    checked = load_script("tools/verify_ledger.py").verify(
        Path(_home()) / "ledger.sqlite", witness, (made.document["key"],)
    )
    assert (checked.problems, checked.warnings) == ([], [])


def test_a_witness_that_is_gone_is_said(cli, promoted, tmp_path):
    cli("audit", "checkpoint")
    found = cli("audit", "verify", "--json", "--witness", str(tmp_path / "none"))
    assert found.code == 1
    assert "is not there" in found.document["problem"]


def test_nothing_to_sign_and_nothing_to_prove(cli, house):
    assert "empty" in cli("audit", "checkpoint").err
    assert cli("audit", "prove", "nobody").code == 2


def test_a_proof_and_an_export_are_checked_by_the_tool(cli, promoted, tmp_path):
    judged = cli("judge", "gate", "--text", ASKED, "--json").document
    assert "No checkpoint covers" in cli("audit", "prove", judged["id"]).err
    cli("audit", "checkpoint")
    whole, compact = tmp_path / "whole.json", tmp_path / "compact.json"
    whole.write_text(cli("audit", "prove", judged["id"]).out)
    compact.write_text(cli("audit", "prove", judged["id"], "--compact").out)
    assert len(compact.read_text().splitlines()) == 1
    file = tmp_path / "export.jsonl"
    done = cli("audit", "export", str(file), "--json").document
    assert done["entries"] == len(file.read_text().splitlines())
    assert ASKED not in file.read_text()
    tool = load_script("tools/verify_ledger.py")
    for proof in (whole, compact):
        assert tool.verify(file, None, (), proof).problems == []
    assert cli("audit", "export", str(file)).code == 2


def test_a_compact_proof_is_below_a_kilobyte_at_a_million_entries(house):
    from sekisho.ledger.chain import Entry
    from sekisho.ledger.checkpoint import Inclusion
    from sekisho.ledger.merkle import inclusion_path
    from sekisho.loop.evidence import compact_form

    class Said:
        size = 10**6

    sizes = []
    for seq in (1, 524_288, 524_289, 999_999, 10**6):
        path = inclusion_path(seq - 1, 10**6, lambda low, high: bytes(32))
        entry = Entry(seq, "judgement", "jdg", "at", "{}", "prev", "sha256:" + "f" * 64)
        document = compact_form(Inclusion(entry, Said(), path))
        assert len(base64.b64decode(document["path"])) == 32 * len(path)
        sizes.append(len(json.dumps(document)))
    assert 900 < max(sizes) <= 1024


def everything_under(folder) -> bytes:
    files = [p for p in Path(folder).rglob("*") if p.is_file()]
    assert any(p.name == "ledger.sqlite" for p in files)
    return b"".join(p.read_bytes() for p in files)


def test_retention_leaves_no_byte_of_a_text_under_home(cli, promoted, tmp_path):
    judged = cli("judge", "gate", "--text", SECRET, "--json").document
    cli("correct", judged["id"], "--label", "DENY", "--reason", "a test")
    proved = cli("audit", "checkpoint", "--json")
    proof = cli("audit", "prove", judged["id"]).out
    assert SECRET.encode() in everything_under(_home())
    assert cli("audit", "retain", "--json").document["erased"] == 0  # it is young
    assert SECRET.encode() in everything_under(_home())
    done = cli("audit", "retain", "--json", "--retention", "0").document
    assert (done["erased"], done["kept"], len(done["entries"])) == (1, 0, 1)
    left = everything_under(_home())
    for piece in (SECRET, SECRET[:6], SECRET[-7:]):
        assert piece.encode() not in left
    assert cli("audit", "verify").code == 0
    assert cli("audit", "show", judged["id"]).document["content"] is None
    file = tmp_path / "proof.json"
    file.write_text(proof)
    tool = load_script("tools/verify_ledger.py")
    checked = tool.verify(Path(_home()) / "ledger.sqlite", None, (proved.document["key"],), file)
    assert checked.problems == []


def test_a_hold_keeps_and_its_release_lets_go(cli, promoted):
    judged = cli("judge", "gate", "--text", SECRET, "--json").document["id"]
    assert cli("audit", "hold", judged, "--reason", "a lawsuit").code == 0
    assert cli("audit", "retain", "--json", "--retention", "0").document["held"] == 1
    refused = cli("audit", "erase", judged, "--reason", "asked for")
    assert (refused.code, "legal hold" in refused.err) == (2, True)
    assert cli("audit", "show", judged).document["content"]["requests"] == [SECRET]
    cli("audit", "hold", judged, "--release", "--reason", "settled")
    assert cli("audit", "erase", judged, "--reason", "asked for", "--json").document["erased"] == 1
    assert SECRET.encode() not in everything_under(_home())
    shown = cli("audit", "show").out
    assert "end of the hold on" in shown
    assert "1 contents (request)" in shown


def test_what_does_not_exist_cannot_be_held_or_erased(cli, house):
    for command in ("hold", "erase"):
        assert cli("audit", command, "nobody", "--reason", "x").code == 2
    assert cli("audit", "hold", "*", "--reason", " ").code == 2
    assert house.ledger.count() == 0


def test_a_key_that_others_may_read_is_refused(cli, promoted):
    cli("audit", "checkpoint")
    os.chmod(Path(_home()) / "keys" / "ledger.pem", 0o644)
    refused = cli("audit", "checkpoint")
    assert refused.code == 1
    assert "chmod 600" in refused.err


def test_a_later_ledger_begins_with_an_earlier_one(cli, promoted, tmp_path):
    assert "no two checkpoints" in cli("audit", "consistency").err
    first, second = (cli("audit", "checkpoint", "--json").document for _ in range(2))
    for args in ([], ["--since", first["id"]]):
        found = cli("audit", "consistency", *args).document
        assert (found["old"]["size"], found["new"]["size"]) == (first["size"], second["size"])
    assert cli("audit", "consistency", "--since", "chk_nobody").code == 2


def test_a_report_from_the_command_line(cli, promoted, tmp_path):
    out = tmp_path / "report.html"
    found = cli(
        "audit", "report", "--from", "2026-01-01", "--to", "2099-12-31", "--out", str(out), "--json"
    ).document
    assert (found["file"], found["report"]["verification"]["ok"]) == (str(out), True)
    assert (
        out.read_text(encoding="utf-8").startswith("<!DOCTYPE html>") or "<!DOCTYPE html>" in out.read_text()
    )
    assert cli("audit", "report", "--from", "x", "--to", "y").code == 2


def test_an_export_makes_no_folder(cli, promoted, tmp_path):
    ended = cli("audit", "export", str(tmp_path / "nope" / "all.jsonl"))
    assert ended.code == 2
    assert "There is no folder" in ended.err
    assert not (tmp_path / "nope").exists()
