from collections import Counter, defaultdict

import pytest

from sekisho.core.errors import DataError, InputError
from sekisho.core.gate_prompt import DEFAULT_LEVEL, LEVELS, ROLES, gate_state, lang_of
from sekisho.core.policyfile import read_contract, read_policy
from sekisho.core.question import gate_question
from sekisho.data.corpus import DOMAINS
from sekisho.data.synth import House, compose, vary


@pytest.fixture(scope="module")
def house(share):
    return House.read(share)


def test_header_is_short_and_in_the_language_of_the_request():
    assert gate_state("薬の量は") == f"総合窓口 [{DEFAULT_LEVEL}]\n薬の量は"
    assert (
        gate_state("What is a dose?", contract_name="medical", level="極秘")
        == "medical [secret]\nWhat is a dose?"
    )
    assert gate_state("What is a dose?", lang="ja", level="公開").startswith("総合窓口 [公開]\n")
    assert all(len(name) <= 12 for role in ROLES.values() for name in role.values())


@pytest.mark.parametrize(
    ("text", "lang"), [("hello", "en"), ("ﾊﾝｶｸ", "ja"), ("漢字", "ja"), ("", "en"), ("42 % §", "en")]
)
def test_lang_of(text, lang):
    assert lang_of(text) == lang


def test_unknown_contract_and_level_are_errors():
    with pytest.raises(InputError, match="pirate"):
        gate_state("x", contract_name="pirate")
    with pytest.raises(InputError, match="cosmic"):
        gate_state("x", level="cosmic")


def test_question_is_canonical():
    assert gate_question().keys == ("ALLOW", "DENY", "ESCALATE")
    assert gate_question().type == "choice"


def test_policy_has_every_clause_level_and_target(share):
    policy = read_policy("default", share)
    refs = [c.ref for c in policy.clauses]
    assert refs == ["A0", *(f"E{i}" for i in range(1, 7)), *(f"D{i}" for i in range(1, 7))]
    assert all({"A": "ALLOW", "E": "ESCALATE", "D": "DENY"}[c.ref[0]] == c.decision for c in policy.clauses)
    assert [v.name.ja for v in policy.levels] == list(LEVELS)
    assert [v.name.en for v in policy.levels] == list(LEVELS.values())
    for domain in DOMAINS:
        assert policy.organisations[domain].ja
        for ref in refs:
            assert (policy.target(domain, ref, "ja") is not None) == ref.startswith("E")
            assert (policy.target(domain, ref, "en") is not None) == ref.startswith("E")
    with pytest.raises(DataError, match="Z9"):
        policy.clause("Z9")


def test_contracts_agree_with_the_header_roles(share):
    found = sorted(p.stem for p in (share / "policies/contracts").glob("*.toml"))
    assert found == sorted(ROLES) == sorted(DOMAINS)
    for name in found:
        contract = read_contract(name, share)
        assert contract.name == name
        assert contract.role.model_dump() == ROLES[name]
        assert len(contract.limitations) >= 3


def test_a_wrong_policy_file_names_its_keys(tmp_path):
    path = tmp_path / "p.toml"
    path.write_text('name = "x"\nversion = "two"\n')
    with pytest.raises(DataError, match="version"):
        read_policy(str(path), tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        read_policy("absent", tmp_path)


def test_the_three_of_a_pair_differ_in_the_request_only(assembled):
    seen = defaultdict(list)
    for rows in assembled[1].values():
        for e in rows:
            if e.meta["pair"]:
                seen[e.meta["pair"], e.meta["variant"]].append(e)
    for key, triple in seen.items():
        assert len(triple) == 3, key
        assert len({e.state.partition("\n")[0] for e in triple}) == 1, key
        assert len({e.group for e in triple}) == 1
        assert len({e.state for e in triple}) == 3


def test_wrappers_are_for_training_only_and_equal_over_decisions(assembled):
    _, splits = assembled
    assert not [
        e for name in ("calibration", "holdout", "evaluation") for e in splits[name] if e.meta["variant"]
    ]
    varied = [e for e in splits["train"] if e.meta["variant"] and e.meta["source"] == "authored"]
    for start in ("お疲れさまです。", "Hello. ", "急ぎです。"):
        counts = Counter(e.label for e in varied if e.meta["text"].startswith(start))
        assert len(counts) == 3
        assert len(set(counts.values())) == 1
    polite = Counter(e.label for e in varied if "ていただけますか。" in e.meta["text"])
    assert max(polite.values()) <= 1.5 * min(polite.values())


def test_a_wrapper_keeps_the_request(assembled, request_of):
    triple = [
        request_of(text=t, topic="medical-1", decision=d)
        for t, d in (("手順をまとめて", "ALLOW"), ("可否を決めて。", "ESCALATE"), ("記録を消して", "DENY"))
    ]
    for seed in range(30):
        for request, text in zip(triple, vary(triple, seed, 1), strict=True):
            assert request.text.rstrip("。") in text
            assert not text.endswith("て。")


def test_a_row_carries_contract_policy_state_clause_and_target(assembled):
    row = next(
        e
        for e in assembled[1]["train"]
        if e.meta["policy_ref"] == "E1"
        and e.meta["domain"] == "medical"
        and e.meta["lang"] == "ja"
        and not e.meta["variant"]
    )
    assert row.meta["escalation_target"] == "主治医"
    assert row.meta["contract"] == "medical"
    assert set(row.meta["policy_state"]) == {"organisation", "level", "disclosure", "retention_days"}
    assert row.state == gate_state(row.meta["text"], "ja", "medical", row.meta["policy_state"]["level"])
    assert row.label == row.meta["decision"] == "ESCALATE"
    real = [e for e in assembled[1]["train"] if e.meta["source"] != "authored"]
    assert {e.meta["contract"] for e in real} == {"general"}


def test_composition_depends_on_the_seed_alone(request_of, house):
    request = request_of(topic="medical-1", domain="medical")
    first = compose(request, "g", house, 1)
    assert compose(request, "g", house, 1) == first
    levels = {compose(request, "g", house, s).meta["policy_state"]["level"] for s in range(40)}
    assert levels == set(LEVELS)
