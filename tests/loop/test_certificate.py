from __future__ import annotations

import asyncio
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.core.canonical import utc_after, utc_now
from sekisho.core.deciding import OPTIONS
from sekisho.core.errors import ProofError
from sekisho.core.records import STRICTNESS
from sekisho.ledger import views
from sekisho.loop import certificate as room
from sekisho.loop import serving
from sekisho.loop.bake import bake
from sekisho.loop.certificate import Certified, certified
from sekisho.loop.certify import certify
from sekisho.loop.feasibility import require_feasible
from sekisho.loop.finetune import finetune
from sekisho.loop.promote import promote
from sekisho.loop.serving import promoted
from sekisho.tasks import gate
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


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from(["policy", "contract", "certify", "expire"]), max_size=8),
    st.tuples(*[st.floats(0.001, 1)] * 3),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_no_policy_edit_makes_a_decision_looser_than_the_certificate_allows(edits, weights, tau, shown):
    """A model of edits beside the real comparison: whatever happens to the documents, ALLOW needs a matching certificate and its threshold."""
    total = sum(weights)
    p = dict(zip(OPTIONS, (w / total for w in weights), strict=True))
    now = {"policy": 0, "contract": 0}
    held: dict[str, int] | None = None
    for edit in edits:
        if edit in now:
            now[edit] += 1
        else:
            held = dict(now) if edit == "certify" else None
        fault = None if held == now else "certificate_policy" if held else "no_certificate"
        standing = Certified(fault, "9999", shown)
        reading = gate.read(p, max(tau, shown), [x for x in [standing.problem(utc_now())] if x])
        bare = gate.read(p, tau, [])
        assert STRICTNESS[reading.decision] >= STRICTNESS[bare.decision]
        if reading.decision == "ALLOW":
            assert held == now
            assert p["ALLOW"] >= shown


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
