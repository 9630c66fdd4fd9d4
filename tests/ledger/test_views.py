from __future__ import annotations

from sekisho.ledger import views

from .makers import contract, correction, judgement, policy, promotion, proof


def test_nothing_yet(ledger):
    assert views.serving(ledger) is views.active_policy(ledger) is None
    assert views.proof(ledger, "p") is None
    assert views.corrections_for(ledger, "gate") == []


def test_the_latest_promotion_serves_also_when_it_goes_back(ledger):
    p = proof()
    steps = [
        promotion("sha256:a", p.id),
        promotion("sha256:b", p.id),
        promotion("sha256:a", p.id, rollback=True),
    ]
    ledger.append([p])
    for step in steps:
        ledger.append([step, judgement()])
        assert views.serving(ledger) == step
    assert views.proof(ledger, p.id) == p
    assert views.proof(ledger, steps[0].id) is None


def test_the_latest_policy_and_contract_are_in_force(ledger):
    old, new, c1, c2 = policy("v1"), policy("v2"), contract("v1"), contract("v2")
    ledger.append([new, c1, old, c2])
    assert views.active_policy(ledger) == old
    assert views.active_contracts(ledger) == {"v1": c1, "v2": c2}


def test_the_last_word_on_a_judgement_counts(ledger):
    first, again = correction("j1", "DENY"), correction("j1", "ESCALATE")
    other, elsewhere = correction("j2", "ALLOW"), correction("j1", "yes", task="question")
    ledger.append([first, other, elsewhere, again])
    assert views.corrections_for(ledger, "gate") == [other, again]
    assert views.corrections_for(ledger, "gate", superseded=True) == [first, other, again]


def test_corrections_come_from_every_page(ledger, monkeypatch):
    monkeypatch.setattr(views, "_PAGE", 4)
    given = [correction(f"j{i}") for i in range(11)]
    ledger.append(given)
    assert views.corrections_for(ledger, "gate") == given


def test_contracts_are_in_force_by_name(ledger):
    a, b, again = contract("a"), contract("b"), contract("a")
    ledger.append([a, b, again])
    assert views.active_contracts(ledger) == {"a": again, "b": b}


def test_the_newest_proof_that_passed(ledger):
    assert views.newest_proof(ledger) is None
    old, other = proof(), proof().model_copy(update={"candidate": "sha256:other"})
    failed = proof().model_copy(update={"passed": False})
    ledger.append([old, other, failed])
    assert views.newest_proof(ledger) == other
    assert views.newest_proof(ledger, old.candidate) == old
    assert views.newest_proof(ledger, "sha256:none") is None
