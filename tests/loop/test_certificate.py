from __future__ import annotations

import asyncio
import copy
from dataclasses import replace
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.core.canonical import utc_after, utc_now
from sekisho.core.deciding import OPTIONS
from sekisho.core.errors import DataError, ProofError
from sekisho.core.records import STRICTNESS, Stamp
from sekisho.ledger import views
from sekisho.loop import certificate as room
from sekisho.loop import serving
from sekisho.loop.bake import bake
from sekisho.loop.certificate import Certified, certified
from sekisho.loop.certify import certify
from sekisho.loop.entries import Serving, gate_entry
from sekisho.loop.feasibility import require_feasible
from sekisho.loop.finetune import finetune
from sekisho.loop.promote import promote
from sekisho.loop.serving import promoted
from sekisho.tasks import gate
from sekisho.tasks.policy import policy_of
from sekisho.tasks.scope import fit_scope
from web import makers

from .makers import rows
from .test_prove import passed


@pytest.fixture
def shelved(tmp_path):
    with makers.house(tmp_path) as house:
        makers.promote(house, "one")
        yield house


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ({}, None),
        ({"adapter": "sha256:9"}, "no_certificate"),
        ({"temperature": 1.9}, "certificate_model"),
        ({"proof": "prf_9"}, "certificate_data"),
        ({"data": "sha256:9"}, "certificate_data"),
        ({"policy": "sha256:9"}, "certificate_policy"),
        ({"contracts": "sha256:9"}, "certificate_policy"),
        ({"expires": "2026-01-01T00:00:00.000000Z"}, "certificate_expired"),
    ],
)
def test_what_makes_a_certificate_hold(tmp_path, more, fault):
    with makers.house(tmp_path) as house:
        with mock.patch.object(makers, "certificate", lambda h, own=makers.certificate: own(h, **more)):
            makers.promote(house, "one")
        _, release = promoted(house)
        assert certified(house, release).problem(utc_now()) == fault


def test_the_gate_allows_only_under_a_valid_certificate(tmp_path):
    with makers.house(tmp_path) as house:
        for standing, decision, reasons in [
            (makers.CERTIFIED, "ALLOW", ("model",)),
            (Certified(), "ESCALATE", ("model", "no_certificate")),
            (Certified(None, utc_now(), 0.0), "ESCALATE", ("model", "certificate_expired")),
            (Certified("certificate_policy", "9999", 0.0), "ESCALATE", ("model", "certificate_policy")),
        ]:
            judge = makers.judge_over(house, certified=standing)
            judge.serving.engine.script.probabilities = makers.sure_of("ALLOW")
            judged = asyncio.run(judge.gate(makers.FAMILIAR))
            assert (judged.decision, judged.reasons) == (decision, reasons)


def test_a_certificate_ends_while_the_server_runs():
    soon = utc_after(utc_now(), 5)
    standing = Certified(None, soon, 0.0)
    assert standing.problem(utc_now()) is None
    assert standing.problem(soon) == "certificate_expired"


def test_a_running_server_takes_up_a_new_certificate(shelved):
    async def run():
        judge = await serving.open_judge(shelved)
        watch = serving.PromotionWatch(shelved, judge)
        await watch.look()
        found = [(judge.serving.certified.fault, judge.serving.threshold)]
        for more in ({"policy": "sha256:9"}, {"threshold": 0.99}, {"threshold": 0.1}):
            shelved.ledger.append([makers.certificate(shelved, **more)])
            await watch.look()
            found.append((judge.serving.certified.fault, judge.serving.threshold))
        await judge.serving.engine.stop()
        return found

    assert asyncio.run(run()) == [
        (None, 0.9),
        ("certificate_policy", 0.9),
        (None, 0.99),
        (None, 0.9),  # never more lenient than the release itself
    ]


@pytest.fixture(scope="module")
def edited(tmp_path_factory):
    """A promoted house whose documents are edited, and what its scope knows."""
    with makers.house(tmp_path_factory.mktemp("edited")) as house:
        makers.promote(house, "one", threshold=0.6)
        yield house, fit_scope([makers.FAMILIAR], [makers.FAMILIAR]).reader()


RULE = {"name": "no-library", "clause": "E1", "all": [["library"], ["hours"]]}
EDITS = {
    "add a rule": lambda policy, _: policy["rules"].append(RULE | {"name": f"r{len(policy['rules'])}"}),
    "drop all rules": lambda policy, _: policy["rules"].clear(),
    "a rule that denies": lambda policy, _: policy["rules"].append(RULE | {"name": "d", "clause": "D1"}),
    "a clause that allows": lambda policy, _: policy["clauses"][1].update(decision="ALLOW"),
    "a decision without its clause": lambda policy, _: policy["decision_clause"].update(DENY="A0"),
    "a contract": lambda _, contracts: contracts["medical"].update(
        version=contracts["medical"]["version"] + 1
    ),
    "a level": lambda policy, _: policy["levels"][0].update(
        retention_days=policy["levels"][0]["retention_days"] + 1
    ),
}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([*EDITS, "certify", "expire"]), max_size=6),
    st.sampled_from([0.5, 0.7, 0.99, 1.0]),
    st.sampled_from([0.0, 0.65, 0.95]),
)
def test_no_policy_edit_makes_a_decision_looser_than_the_certificate_allows(edited, edits, sure, shown):
    """Real documents, the real ledger, the real comparison: ALLOW needs a certificate of just these documents, and its threshold."""
    house, scope = edited
    p = dict(zip(OPTIONS, (sure, (1 - sure) / 2, (1 - sure) / 2), strict=True))
    policy, contracts = (copy.deepcopy(dict(d)) for d in (house.policy_document, house.contract_documents))
    now = replace(house, policy_document=policy, contract_documents=contracts)
    house.ledger.append([makers.certificate(now, threshold=shown)])
    certified_as: object = copy.deepcopy((policy, contracts))
    for edit in edits:
        if edit in EDITS:
            EDITS[edit](policy, contracts)
        else:
            expires = "9999" if edit == "certify" else "2026-01-01T00:00:00.000000Z"
            house.ledger.append([makers.certificate(now, threshold=shown, expires=expires)])
            certified_as = copy.deepcopy((policy, contracts)) if edit == "certify" else None
    try:
        own = policy_of(policy)
    except DataError:
        return  # such a policy ends the start
    _, release = promoted(house)
    standing = certified(now, release)
    tau = max(release.threshold, standing.threshold)
    stamp = Stamp(engine="fake", model="m", model_digest="sha256:0")
    now_serving = Serving(None, stamp, own, threshold=tau, scope=scope, certified=standing)
    reading = gate.read(p, tau, now_serving.guards(makers.FAMILIAR))
    record = gate_entry(now_serving, reading, [makers.FAMILIAR], ("general", None), {})
    assert STRICTNESS[record.decision] >= STRICTNESS[gate.read(p, tau, ()).decision]
    if record.decision == "ALLOW":
        assert certified_as == (policy, contracts)
        assert p["ALLOW"] >= max(shown, release.threshold)
        assert not any(r.startswith("rule:") for r in record.reasons)


def test_feasibility_is_asked_before_training(small):
    with mock.patch.dict(small.settings.values, {"alpha": 0.01}):
        with pytest.raises(ProofError, match=r"No gate could be certified: 30 DENY .* at least 299"):
            finetune(small)
        assert not small.shelf.all("adapters")
        require_feasible(small, rows(1200, 5))


def test_from_proof_to_promotion_to_another_certificate(small):
    finetune(small)
    passed(small)
    bake(small)
    promote(small)
    _, release = promoted(small)
    first = views.certificate(small.ledger, release.adapter)
    assert first.feasible
    assert first.bound <= first.alpha
    assert (first.threshold, first.temperature) == (release.threshold, release.temperatures["choice"])
    assert all(set(v) == {"misses", "cases", "bound"} for v in first.strata.values())
    assert certified(small, release).problem(utc_now()) is None
    small.policy_document["version"] += 1
    assert certified(small, release).fault == "certificate_policy"
    second = certify(small)
    assert second.feasible
    assert certified(small, release).problem(utc_now()) is None
    assert certified(small, release).threshold == second.threshold
    assert room.in_force(small)[0] == second.policy != first.policy
