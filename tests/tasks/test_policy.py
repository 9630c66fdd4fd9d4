from __future__ import annotations

from pathlib import Path

import pytest

from sekisho.core.errors import DataError
from sekisho.tasks import gate
from sekisho.tasks.policy import document_digest, find_policy, policy_of, read_document

SHARE = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def document() -> dict:
    return read_document(find_policy("default", SHARE))


def test_the_policy_that_ships_names_a_clause_and_a_person_for_every_decision(document: dict) -> None:
    policy = policy_of(document)
    assert policy.clause("DENY").startswith("default@")
    for lang in ("ja", "en"):
        assert policy.target("medical", lang) != policy.target("default", lang)
        assert policy.target("unheard of", lang) == policy.target("default", lang)


def test_people_are_told_in_their_language_with_the_judgement(document: dict) -> None:
    policy = policy_of(document)
    ja = gate.words(policy, "DENY", "教えて", "jdg_1", "finance")
    en = gate.words(policy, "ESCALATE", "tell me", "jdg_2", "finance")
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
