from __future__ import annotations


def test_keys_from_the_command_line(cli):
    made = cli(
        "keys", "make", "hana", "--scope", "judge", "--scope", "audit", "--days", "9", "--json"
    ).document
    assert made["scopes"] == ["audit", "judge"]
    new = cli("keys", "rotate", made["key"], "--json").document
    assert new["key"] == made["key"]
    assert new["secret"] != made["secret"]
    assert "hana" in cli("keys", "list").out
    assert cli("keys", "revoke", made["key"], "--json").document["active"] is False
    (key,) = cli("keys", "list", "--json").document
    assert (key["name"], key["active"]) == ("hana", False)
    assert cli("keys", "revoke", made["key"]).code == 2
    assert "revoked by" in cli("audit", "show", "--kind", "key").out
    assert made["secret"] not in cli("audit", "show", "--kind", "key", "--json").out


def test_wrong_keys_are_refused(cli):
    assert cli("keys", "make", "hana", "--scope", "root").code == 2
    assert cli("keys", "make", "hana").code == 2
    assert cli("keys", "rotate", "key_nobody").code == 2
    both = ("keys", "make", "hana", "--scope", "correct", "--scope", "promote", "--separate-duties", "on")
    assert "does not promote" in cli(*both).err
