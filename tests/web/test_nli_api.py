"""The NLI service over HTTP, on a tiny classifier: answers and errors a pair, adapters, feedback, a swap under clients."""

from __future__ import annotations

import threading

import pytest
from starlette.testclient import TestClient

from loop import nli_house as made
from loop import nli_makers as tiny
from sekisho.core.canonical import model_digest
from sekisho.loop import adapters
from sekisho.shelf import write_json
from sekisho.web.app import create_app

from . import makers


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny.tiny(tmp_path_factory.mktemp("nli") / "tiny")


@pytest.fixture(scope="module")
def opened(tmp_path_factory, model):
    home = tmp_path_factory.mktemp("home")
    with made.house(home, model, threads="1", nli_max_pairs="20", nli_max_characters="1000") as house:
        yield house


@pytest.fixture(scope="module")
def served(opened):
    judge = makers.judge_over(opened)
    with TestClient(create_app(opened, judge), base_url="http://127.0.0.1:8000") as client:
        yield client


@pytest.fixture(scope="module")
def adapter(opened, model):
    """An adapter with weights of its own and a proof."""
    import torch

    from sekisho.train.nli_adapter import adapted, save_adapter
    from sekisho.train.nli_recipe import NliAdapt

    with opened.shelf.building("nli_adapters") as folder:
        laid = adapted(NliAdapt(name="x"), model, model_digest(model))
        torch.manual_seed(3)
        for name, p in laid.named_parameters():
            if "lora_B" in name or "modules_to_save" in name:
                torch.nn.init.normal_(p, std=0.2)
        save_adapter(laid, folder)
        columns = ["refutes", "supports", "neutral"]
        write_json(
            folder / "made.json",
            {"base": model_digest(model), "columns": columns, "rows": [], "reviewed": [], "at": "x"},
        )
        digest = opened.shelf.keep("nli_adapters", folder)
    made.proved(opened, model, digest)
    return digest


def pairs(count=5, seed=1):
    return [
        {"id": str(i), "premise": s["premise"], "hypothesis": s["hypothesis"]}
        for i, s in enumerate(tiny.sentences(count, seed))
    ]


def asked(client, some):
    answer = client.post("/nli", json={"pairs": some})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_answers_are_in_the_ledger_with_everything(served, opened):
    found = asked(served, pairs())
    assert [r["id"] for r in found["results"]] == list("01234")
    assert found["truncation"]["max_tokens"] == 96
    for row, pair in zip(found["results"], pairs(), strict=True):
        record = opened.ledger.get(row["judgement"]).record
        assert row["label"] == max(row["probabilities"], key=row["probabilities"].get)
        assert row["confidence"] == row["probabilities"][row["label"]]
        assert sum(row["probabilities"].values()) == pytest.approx(1)
        assert {"contradiction": "refutes", "entailment": "supports", "neutral": "neutral"}[
            row["raw_label"]
        ] == row["label"]
        assert (record.task, record.decision, record.links["request"]) == (
            "nli",
            row["label"],
            found["request"],
        )
        assert opened.ledger.content(record.content) == {
            "premise": pair["premise"],
            "hypothesis": pair["hypothesis"],
            "source": None,
        }


def test_what_is_wrong_with_a_pair_is_that_pairs_answer(served, opened):
    good = pairs(1)[0]
    wrong = [
        {"id": "a", "premise": 3, "hypothesis": "x"},
        {"id": "b", "premise": "x"},
        {"id": "c", "premise": " ", "hypothesis": "x"},
        {"id": "d", "premise": "x" * 1001, "hypothesis": "x"},
        {"id": "e", "premise": "x", "hypothesis": "word " * 190},
        {"id": "f", "premise": "x", "hypothesis": "x", "more": 1},
        {"id": "g", "premise": "x", "hypothesis": "x", "source": 3},
        {"id": 7, "premise": "x", "hypothesis": "x"},
        "no pair",
    ]
    before = opened.ledger.count("judgement")
    found = asked(served, [good, *wrong, {**good, "id": "last"}])["results"]
    assert [("error" in r) for r in found] == [False, *[True] * len(wrong), False]
    assert [r["id"] for r in found[1:8]] == list("abcdefg")
    assert found[4]["error"]["error_type"] == "too_large"
    assert found[1]["error"]["loc"][-1] == "premise"
    assert found[0]["probabilities"] == found[-1]["probabilities"]
    assert opened.ledger.count("judgement") == before + 2


def test_an_id_of_two_pairs_is_an_error_of_the_second(served):
    pair = {"premise": "x", "hypothesis": "y"}
    found = asked(served, [{**pair, "id": "a"}, {**pair, "id": "a"}, {**pair, "id": "b"}, pair])["results"]
    assert ["error" in r for r in found] == [False, True, False, False]
    assert found[1]["error"]["loc"] == ["body", "pairs", 1, "id"]
    assert [r["id"] for r in found] == ["a", "a", "b", "3"]


def test_a_long_premise_is_cut_and_the_answer_says_so(served):
    (row,) = asked(served, [{"premise": "word " * 190, "hypothesis": "a claim"}])["results"]
    assert row["cut_tokens"] > 0


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"pairs": []}, 422),
        ({"pairs": {}}, 422),
        ({"pairs": None}, 422),
        ({"pairs": [{}] * 21}, 413),
        ({"pairs": [{}], "model": "medium"}, 422),
        ({"pairs": [{}], "model": ["fast"]}, 422),
        ({"pairs": [{}], "more": 1}, 422),
        ({"pairs": [{}], "model": "slow"}, 404),
        ([], 422),
    ],
)
def test_a_wrong_request(served, opened, body, status):
    before = opened.ledger.count()
    assert served.post("/nli", json=body).status_code == status
    assert opened.ledger.count() == before


def test_the_limits_as_they_ship(tmp_path, model):
    with (
        made.house(tmp_path, model) as house,
        TestClient(create_app(house, makers.judge_over(house)), base_url="http://127.0.0.1:8000") as client,
    ):
        pair = {"premise": "a", "hypothesis": "b"}
        assert client.post("/nli", json={"pairs": [pair] * 10_001}).status_code == 413
        (row,) = asked(client, [{"premise": "x" * 1_000_000, "hypothesis": "b"}])["results"]
        assert row["error"]["error_type"] == "too_large"
        assert client.post("/nli", content=b"{" + b" " * (17 << 20)).status_code == 413


def test_load_ask_and_roll_back(served, opened, adapter):
    some = pairs(12)
    base = asked(served, some)
    assert served.post("/nli/adapter/rollback").status_code == 409
    done = served.post("/nli/adapter/load", json={"adapter": adapter[:20], "by": "ken"})
    assert (done.status_code, done.json()["adapter"], done.json()["by"]) == (200, adapter, "ken")
    over = asked(served, some)
    assert (base["adapter"], over["adapter"]) == (None, adapter)
    assert [r["probabilities"] for r in over["results"]] != [r["probabilities"] for r in base["results"]]
    assert served.get("/nli/adapter/status").json()["adapter"] == adapter
    assert served.post("/nli/adapter/unload", json={"by": "ken"}).json()["adapter"] is None
    assert served.post("/nli/adapter/unload").status_code == 409
    back = asked(served, some[::-1])["results"][::-1]
    assert [r["probabilities"] for r in back] == [r["probabilities"] for r in base["results"]]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"adapter": "abcdef"}, 409),
        ({"adapter": "../x"}, 422),
        ({}, 422),
        ({"adapter": 3}, 422),
        ({"adapter": "abcdef", "x": 1}, 422),
    ],
)
def test_what_cannot_be_loaded(served, opened, body, status):
    before = opened.ledger.count()
    assert served.post("/nli/adapter/load", json=body).status_code == status
    assert opened.ledger.count() == before


def test_a_corrupt_adapter_is_refused_and_what_served_goes_on(tmp_path, model):
    with (
        made.house(tmp_path, model) as house,
        TestClient(create_app(house, makers.judge_over(house)), base_url="http://127.0.0.1:8000") as client,
    ):
        before = asked(client, pairs())["results"]
        hollow = made.shelve(house, model, "hollow")  # whole by its digest, yet without weights
        made.proved(house, model, hollow)
        assert client.post("/nli/adapter/load", json={"adapter": hollow}).status_code == 409
        assert adapters.history(house, model_digest(model)) == []
        assert [r["probabilities"] for r in asked(client, pairs())["results"]] == [
            r["probabilities"] for r in before
        ]
        adapters.load(house, hollow)  # another process, which loads no weights, lets it answer
        for _ in range(50):
            answer = client.post("/nli", json={"pairs": pairs()})
            if answer.status_code == 409:
                break
            threading.Event().wait(0.1)
        assert answer.status_code == 409
        assert client.get("/nli/adapter/status").json()["problem"]
        assert (client.get("/healthz").status_code, client.get("/healthz").json()["status"]) == (
            200,
            "degraded",
        )
        assert client.post("/nli/adapter/unload").status_code == 200
        assert [r["probabilities"] for r in asked(client, pairs())["results"]] == [
            r["probabilities"] for r in before
        ]


def test_an_adapter_that_cannot_be_read_stops_the_answers_and_is_told(served, opened, adapter, monkeypatch):
    adapters.load(opened, adapter)  # another process
    whole = type(opened.shelf).digest_of

    def full(*_):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(type(opened.shelf), "digest_of", full)
    for _ in range(50):
        answer = served.post("/nli", json={"pairs": pairs()})
        if answer.status_code == 409:
            break
        threading.Event().wait(0.1)
    assert answer.status_code == 409
    assert "Too many open files" in served.get("/nli/adapter/status").json()["problem"]
    monkeypatch.setattr(type(opened.shelf), "digest_of", whole)
    assert served.post("/nli/adapter/unload").status_code == 200
    assert served.post("/nli", json={"pairs": pairs()}).status_code == 200


def test_swaps_under_clients_never_mix_answers(served, adapter):
    some = pairs(20, seed=8)
    base = [r["probabilities"] for r in asked(served, some)["results"]]
    served.post("/nli/adapter/load", json={"adapter": adapter})
    over = [r["probabilities"] for r in asked(served, some)["results"]]
    served.post("/nli/adapter/unload")
    wrong, counts, stop = [], [0, 0], threading.Event()

    def client():
        while not stop.is_set():
            found = asked(served, some)
            rows = [r["probabilities"] for r in found["results"]]
            counts[rows == over] += 1
            if rows != (over if found["adapter"] else base):
                wrong.append(found)

    threads = [threading.Thread(target=client) for _ in range(8)]
    for t in threads:
        t.start()
    for step in ("load", "unload") * 3:
        body = {"adapter": adapter} if step == "load" else {}
        assert served.post(f"/nli/adapter/{step}", json=body).status_code == 200
    stop.set()
    for t in threads:
        t.join()
    assert not wrong
    assert sum(counts) >= 8


def test_words_over_http(served, opened):
    first = asked(served, pairs(3, seed=3))["results"]
    other = next(k for k in first[0]["probabilities"] if k != first[0]["label"])
    said = {"judgement": first[0]["judgement"], "label": other, "reason": "read it", "by": "hana"}
    filed = served.post("/v1/feedback", json=said)
    assert (filed.status_code, filed.json()["was"], filed.json()["label"]) == (201, first[0]["label"], other)
    again = served.post("/v1/corrections", json=said | {"label": first[0]["label"]}).json()
    assert (again["was"], again["task"]) == (first[0]["label"], "nli")
    assert (
        served.post(
            "/v1/feedback", json={"judgement": first[1]["judgement"], "action": "right", "reason": "x"}
        ).status_code
        == 201
    )
    on_claim = {
        "judgement": first[2]["judgement"],
        "level": "claim",
        "action": "reject",
        "reason": "no claim",
    }
    assert served.post("/v1/feedback", json=on_claim).json()["level"] == "claim"
    for bad, status in (
        (said | {"label": "x"}, 422),
        (said | {"judgement": "jdg_x"}, 404),
        (said | {"level": "source"}, 422),
        ({}, 422),
    ):
        assert served.post("/v1/feedback", json=bad).status_code == status
    found = served.get("/nli/dashboard").json()
    assert sum(a["reviewed"] for a in found["adapters"]) == 2
    assert served.get("/nli/dashboard", params={"days": 0}).status_code == 422


def test_nli_as_a_system_one_choice(served, opened):
    state = {"premise": "The drug helps.", "hypothesis": "It works."}
    criteria = {"supports": None, "refutes": "it does not", "neutral": None}
    body = {
        "state": state,
        "questions": {
            "nli": {"type": "choice", "criteria": criteria},
            "fine": {"type": "noul", "instructions": "Is it?"},
        },
    }
    found = served.post("/v1/systemone", json=body).json()
    answer = found["answers"]["nli"]
    (row,) = asked(served, [state])["results"]
    assert answer["probabilities"] == row["probabilities"]
    assert answer["choice"] == row["label"]
    assert opened.ledger.get(answer["x_judgement"]).record.task == "nli"
    assert opened.ledger.get(found["answers"]["fine"]["x_judgement"]).record.task == "question"
    plain = served.post("/v1/systemone", json=body | {"state": "no pair"}).json()
    assert opened.ledger.get(plain["answers"]["nli"]["x_judgement"]).record.task == "question"
    empty = served.post("/v1/systemone", json=body | {"state": {"premise": "", "hypothesis": "x"}})
    assert empty.status_code == 422
