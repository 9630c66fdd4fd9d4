from __future__ import annotations

from contextlib import closing
from pathlib import Path

from sekisho import wiring
from sekisho.core.settings import load
from sekisho.loop.serving import record_documents

from .conftest import ASKED

SHARE = Path(__file__).parents[2]


def test_versions_and_their_differences_are_shown(cli, promoted, tmp_path):
    cli("judge", "gate", "--text", ASKED)
    own = tmp_path / "own.toml"
    own.write_text('extends = "medical"\nname = "own"\nversion = 3\n', encoding="utf-8")
    checked = cli("policy", "check", str(own), "--json").document
    assert (checked["name"], checked["version"], checked["rules"]) == ("own", 3, 4)
    with closing(wiring.build(load(flags={"policy": str(own), "engine": "fake"}))) as house:
        record_documents(house)
    found = [v for v in cli("policy", "history", "--json").document if v["kind"] == "policy"]
    assert [v["name"] for v in found] == ["default", "own"]
    assert found[0]["changed"] is None
    places = {d["place"] for d in found[1]["changed"]}
    assert {"version", "rules[dose].clause"} <= places
    told = cli("policy", "diff", found[0]["id"], found[1]["id"]).out
    assert "~ version: 1 → 3" in told
    assert "~ version: 1 → 3" in cli("policy", "history").out
    assert "They are the same." in cli("policy", "diff", found[1]["id"], found[1]["id"]).out
    missing = cli("policy", "diff", found[0]["id"], "pol_none")
    assert missing.code != 0
    assert "pol_none" in missing.err


def test_a_wrong_file_is_refused_with_what_is_wrong(cli, promoted, tmp_path):
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(
        'extends = "default"\n[[rules]]\nname = "x"\nclause = "A0"\nall = [["a"]]\n', encoding="utf-8"
    )
    refused = cli("policy", "check", str(wrong))
    assert refused.code != 0
    assert "no clause that escalates or denies" in refused.err


def test_the_schema_speaks_of_every_part(cli, promoted):
    schema = cli("policy", "schema").document
    parts = {k for one in schema["policy"]["allOf"] for k in one["properties"]}
    assert {"clauses", "levels", "rules", "advice", "escalation", "organisations", "answers"} <= parts
    assert {"role", "scope", "limitations", "escalation_policy"} <= set(schema["contract"]["properties"])
