"""Rules only tighten, name their clause, and are not fooled by a lone keyword."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.core.errors import DataError
from sekisho.core.gate_prompt import LEVELS, ROLES
from sekisho.core.records import STRICTNESS
from sekisho.data.collect import read_authored
from sekisho.tasks import gate
from sekisho.tasks.policy import policy_of, read_policy
from sekisho.tasks.rules import Fired, Rule, faults, fired

SHARE = Path(__file__).parents[2]
SHIPPED = sorted(p.stem for p in (SHARE / "policies").glob("*.toml"))
CLAUSES = {"A0": "ALLOW", "E1": "ESCALATE", "D1": "DENY"}
TRAPS = (
    "公開の個人情報保護方針を要約してください。",
    "秘密保持契約のひな形を見せてください。",
    "極秘プロジェクトという題の小説のあらすじを教えて",
    "Summarise our published privacy policy.",
    "What does 'confidential' mean on a letter?",
    "カルテの書き方の研修資料を作って",
    "本番環境という言葉の意味を新人に説明して",
)


def rule(**more) -> Rule:
    return Rule(**({"name": "r", "clause": "E1", "all": [["カルテ", "chart"], ["送って", "send"]]} | more))


@pytest.mark.parametrize(
    ("more", "text", "hit"),
    [
        ({}, "カルテを外へ送って", True),
        ({}, "カルテの書き方", False),
        ({}, "Send the CHART over", True),
        ({}, "sender of charts", False),
        ({}, "ｓｅｎｄ　the　ｃｈａｒｔ", True),
        ({"unless": ["手順"]}, "カルテを送って、という手順", False),
        ({"contracts": ["medical"]}, "カルテを送って", False),
        ({"levels": ["極秘"]}, "カルテを送って", False),
        ({"levels": ["社内限定"], "contracts": ["general"]}, "カルテを送って", True),
    ],
)
def test_when_a_rule_fires(more, text, hit):
    assert bool(fired([rule(**more)], CLAUSES, [text], "general")) is hit


def test_a_request_that_is_split_over_turns_is_one_request():
    assert not fired([rule()], CLAUSES, ["カルテを"], "general")
    assert fired([rule()], CLAUSES, ["カルテを", "送って"], "general")


fires = st.lists(
    st.sampled_from([Fired(name=d, clause=c, decision=d) for c, d in CLAUSES.items()][1:]), max_size=3
)


@given(st.tuples(*[st.floats(0.001, 1)] * 3), st.floats(0, 1), fires)
def test_no_set_of_rules_loosens(weights, tau, hits):
    p = dict(zip(("ALLOW", "DENY", "ESCALATE"), (w / sum(weights) for w in weights), strict=True))
    ordered = sorted(hits, key=lambda f: -STRICTNESS[f.decision])
    bare = gate.read(p, tau, ())
    ruled = gate.tighten(bare, ordered)
    assert STRICTNESS[ruled.decision] == max(
        STRICTNESS[x] for x in (bare.decision, *(f.decision for f in hits))
    )
    assert ruled.reasons[len(bare.reasons) :] == tuple(f.reason for f in ordered)
    assert ruled.clause is None or CLAUSES[ruled.clause] == ruled.decision


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"clause": "A0"}, "no clause that escalates"),
        ({"clause": "Z1"}, "no clause that escalates"),
        ({"all": []}, "empty group"),
        ({"all": [[" "]]}, "empty group"),
        ({"unless": [""]}, "empty group"),
        ({"levels": ["最高"]}, "最高"),
        ({"contracts": ["moon"]}, "moon"),
    ],
)
def test_what_is_wrong_with_a_rule_is_said(more, words):
    assert words in "; ".join(faults([rule(**more)], CLAUSES))


def test_a_policy_with_a_wrong_rule_or_advice_is_refused():
    document = read_policy("default", SHARE)
    with pytest.raises(DataError, match="Z9"):
        policy_of(
            {**document, "rules": [*document["rules"], dict(document["rules"][0], name="x", clause="Z9")]}
        )
    with pytest.raises(DataError, match="advice for 'Z9'"):
        policy_of({**document, "advice": {"Z9": document["advice"]["E"]}})


def test_every_domain_has_an_example_and_none_drops_a_rule_beneath():
    assert set(SHIPPED) == {"default", *ROLES}
    below = policy_of(read_policy("default", SHARE))
    for name in ROLES:
        policy = policy_of(read_policy(name, SHARE))
        assert (policy.name, policy.rules[: len(below.rules)]) == (name, below.rules)
        assert len(policy.rules) > len(below.rules)
        assert [level["name"]["ja"] for level in read_policy(name, SHARE)["levels"]] == list(LEVELS)


@pytest.mark.parametrize("name", SHIPPED)
def test_no_shipped_rule_denies_and_keyword_traps_pass(name):
    policy = policy_of(read_policy(name, SHARE))
    assert {policy.decision_of()[r.clause] for r in policy.rules} == {"ESCALATE"}
    desks = ("general", "medical", name if name in ROLES else "business")
    assert not [f for t in TRAPS for d in desks for level in LEVELS for f in policy.fired([t], d, level)]


def test_shipped_rules_seldom_fire_on_what_may_be_answered():
    policy = policy_of(read_policy("default", SHARE))
    requests = list(read_authored(SHARE / "data" / "gate" / "authored"))
    hit = {
        d: [r for r in requests if r.decision == d and policy.fired([r.text], r.domain, "極秘")]
        for d in STRICTNESS
    }
    assert 0 < len(hit["ALLOW"]) <= 0.002 * len(requests) / 3
    assert len(hit["ESCALATE"]) + len(hit["DENY"]) > 3 * len(hit["ALLOW"])


def test_policies_that_extend_each_other_are_refused(tmp_path):
    for one, other in (("a", "b"), ("b", "a")):
        (tmp_path / f"{one}.toml").write_text(f'extends = "{tmp_path / f"{other}.toml"}"\n')
    with pytest.raises(DataError, match="extend each other"):
        read_policy(str(tmp_path / "a.toml"), SHARE)
