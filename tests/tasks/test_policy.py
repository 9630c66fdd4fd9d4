from __future__ import annotations

from pathlib import Path

import pytest

from sekisho.core.canonical import utc_now
from sekisho.core.errors import DataError
from sekisho.core.records import Judgement, Stamp
from sekisho.tasks import gate
from sekisho.tasks.policy import document_digest, find_policy, policy_of, read_document

SHARE = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def document() -> dict:
    return read_document(find_policy("default", SHARE))


def judged(id: str, decision: str, **more) -> Judgement:
    stamp = Stamp(engine="fake", model="m", model_digest="sha256:0")
    return Judgement(id=id, at=utc_now(), task="gate", decision=decision, stamp=stamp, **more)


def test_advice_is_by_clause_then_by_decision_and_never_beside_allow(document: dict) -> None:
    policy = policy_of(document)
    assert policy.advise("ALLOW") is None
    assert policy.advise("DENY") == policy.advice["D"]
    assert policy.advise("ESCALATE", "E1") == policy.advice["E1"]
    assert {*policy.decision_of()} - {"A0"} <= set(policy.advice)
    assert policy.target("medical", "ja", "E1") == "主治医"


def test_the_policy_that_ships_names_a_clause_and_a_person_for_every_decision(document: dict) -> None:
    policy = policy_of(document)
    assert policy.clause("DENY").startswith("default@")
    for lang in ("ja", "en"):
        assert policy.target("medical", lang) != policy.target("default", lang)
        assert policy.target("unheard of", lang) == policy.target("default", lang)


def test_people_are_told_in_their_language_with_the_judgement(document: dict) -> None:
    policy = policy_of(document)
    advice = policy.advise("DENY", "D2")
    denied = judged("jdg_1", "DENY", proposal=advice.proposal.ja)
    ja = gate.words(policy, denied, "教えて", "finance")
    en = gate.words(policy, judged("jdg_2", "ESCALATE"), "tell me", "finance")
    assert "代わりにできること: 記録の正しい訂正手続き" in ja
    assert "jdg_1" in ja
    assert "規程" in ja
    assert "jdg_2" in en
    assert "compliance officer" in en


def test_every_missing_key_is_named_at_once(document: dict) -> None:
    with pytest.raises(DataError) as error:
        policy_of({"name": "x"})
    assert "version" in str(error.value)
    assert "answers" in str(error.value)


def test_a_policy_without_a_default_desk_is_refused(document: dict) -> None:
    with pytest.raises(DataError):
        policy_of({**document, "desks": {}})


@pytest.mark.parametrize("text", ["Ask {who}.", "A stray { brace.", "{0}", "{id.name}", "{id[a]}", "{id:d}"])
@pytest.mark.parametrize(("decision", "lang"), [("escalate", "en"), ("deny", "ja")])
def test_an_answer_that_cannot_be_filled_in_is_refused(
    document: dict, text: str, decision: str, lang: str
) -> None:
    words = {**document["answers"][decision], lang: text}
    answers = {**document["answers"], decision: words}
    with pytest.raises(DataError, match=rf"answers\.{decision}\.{lang}"):
        policy_of({**document, "answers": answers})


def test_a_plain_brace_in_an_answer_is_written_twice(document: dict) -> None:
    words = {"ja": "{{注}} {id}", "en": "{{note}} {id}"}
    policy = policy_of({**document, "answers": {"escalate": words, "deny": words}})
    assert policy.answer("DENY", "en", id="jdg_1", target="t", clause="c") == "{note} jdg_1"


def test_any_change_changes_the_digest(document: dict) -> None:
    assert document_digest(document) != document_digest({**document, "version": 2})


def test_an_unknown_policy_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        find_policy("nowhere", tmp_path)
