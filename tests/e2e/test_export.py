from __future__ import annotations

import json
import math
from pathlib import Path

import httpx
import pytest

from sekisho.core.deciding import OPTIONS
from sekisho.core.gate_prompt import gate_state
from sekisho.core.question import GATE_INSTRUCTIONS, Example
from sekisho.data.format import read_split
from sekisho.ledger import views
from sekisho.ledger.store import Ledger
from sekisho.serve.scoring import calibrate, log_softmax
from sekisho.shelf import Shelf
from sekisho.tasks.sidecar import read_sidecar
from sekisho.train.batches import score_examples
from sekisho.train.fit import load_base
from sekisho.weights.bake import MAX_ROUNDING
from weights.makers import llama_cpp

from .running import REQUESTS, server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def release(promoted: Path):
    with Ledger.open(promoted / "ledger.sqlite") as ledger:
        promotion = views.serving(ledger)
    assert promotion is not None
    return Shelf(promoted / "shelf").release(promotion.release)


def test_the_certificate_says_baked_equals_gated(release) -> None:
    found = release[1].certificate
    assert found["prompts"] >= 50
    assert found["end_to_end_float64"]["max_delta_logit"] < 1e-5
    assert found["end_to_end_float64"]["max_kl"] < 1e-6
    assert found["end_to_end"]["max_delta_logit"] < MAX_ROUNDING
    assert found["end_to_end"]["max_kl"] < 1e-6


def test_a_bare_llama_cpp_server_gives_the_opinion_that_ours_pools(promoted: Path, release) -> None:
    """What a bare server answers, its temperature undone, pooled with the reader of n-grams and calibrated anew, is what ours released."""
    folder, known = release
    reader, temperature = read_sidecar(folder).ngrams, known.temperatures["choice"]
    assert reader is not None
    options = {"ALLOW": None, "DENY": None, "ESCALATE": None}
    with server(promoted) as (_, ours), llama_cpp(folder / known.gguf["f16"]) as bare:
        for text in REQUESTS:
            mine = httpx.post(f"{ours}/v1/gate", json={"text": text}, timeout=30).json()["probabilities"]
            question = {"type": "choice", "instructions": GATE_INSTRUCTIONS, "criteria": options}
            body = {"model": "x", "state": gate_state(text), "questions": {"gate": question}}
            theirs = httpx.post(f"{bare}/v1/systemone", json=body, timeout=30).json()["answers"]["gate"][
                "probabilities"
            ]
            model = log_softmax([temperature * math.log(theirs[o]) for o in OPTIONS])
            pooled = calibrate(reader.pool(model, text), temperature)
            assert dict(zip(OPTIONS, pooled, strict=True)) == {
                o: pytest.approx(mine[o], abs=0.02) for o in OPTIONS
            }


def test_f16_in_llama_cpp_agrees_with_transformers_within_kl(promoted: Path, release) -> None:
    folder, _ = release
    rows = [e for e in read_split(promoted / "data" / "gate", "holdout") if as_served(e)][:40]
    assert len(rows) == 40
    model, tokenizer = load_base(folder / "model")
    wanted, reader = dict(score_examples(model, tokenizer, rows)), read_sidecar(folder).ngrams
    assert reader is not None
    with server(promoted) as (_, address):
        for i, row in enumerate(rows):
            body = {"text": row.meta["text"], "contract": row.meta["contract"]}
            answer = httpx.post(f"{address}/v1/gate", json=body, timeout=30).json()
            entry = httpx.get(f"{address}/v1/judgements/{answer['id']}", timeout=30).json()
            raw = find_raw(entry)
            assert row.question.keys == OPTIONS
            p = [math.exp(x) for x in reader.pool(wanted[i], row.meta["text"])]
            kl = sum(a * (math.log(a) - math.log(raw[k])) for a, k in zip(p, OPTIONS, strict=True))
            assert kl < 1e-4


def as_served(example: Example) -> bool:
    """Whether a row has the clearance level a request gets when none is named."""
    return example.state == gate_state(example.meta["text"], contract_name=example.meta["contract"])


def find_raw(entry: dict) -> dict[str, float]:
    found = entry.get("raw") or entry.get("judgement", {}).get("raw") or entry.get("body", {}).get("raw")
    assert found, json.dumps(entry)[:500]
    return found
