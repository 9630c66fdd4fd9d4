import json
from collections import Counter

import pytest

from sekisho.core.errors import DataError
from sekisho.data import gateset, reword
from sekisho.data.dedup import THRESHOLD, jaccard, shingles
from sekisho.data.own import SOURCE
from sekisho.data.reword import evaluated_texts, fit_wordings, read_wordings


@pytest.fixture
def data(tmp_path):
    """A data folder with some lines of paraphrases."""

    def write(*lines, evaluated=()):
        folder = tmp_path / "paraphrases"
        folder.mkdir(exist_ok=True)
        for name, rows in (("train", lines), ("real", evaluated)):
            (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return tmp_path

    return write


def of(request, *texts):
    return {"of": request, "texts": list(texts)}


def reworded(rows):
    """The rows that are paraphrases of real requests."""
    return [e for e in rows if e.meta["variant"] and not e.meta["pair"] and e.meta["source"] != SOURCE]


def test_wordings_follow_their_request_and_others_are_passed_over(data, request_of):
    share = data(of("t:1", "別の 言い方です ", "もう一つの言い方"), of("t:2", "知らない依頼です"))
    found = list(read_wordings(share, {"t:1": request_of(decision="DENY", family="f")}))
    assert [(w.request.text, w.place) for w in found] == [("別の 言い方です", 1), ("もう一つの言い方", 2)]
    assert {(w.request.id, w.request.decision, w.request.family) for w in found} == {("t:1", "DENY", "f")}


@pytest.mark.parametrize("row", [{"texts": ["x"]}, {"of": "t:1"}, of("t:1"), {"of": "t:1", "texts": [3]}])
def test_a_line_without_request_or_texts_is_an_error(data, row):
    with pytest.raises(DataError, match="lacks"):
        list(read_wordings(data(row), {}))


def test_what_is_unfit_or_near_another_text_is_dropped_and_counted(data, request_of):
    held, own, evaluated = (
        "会議室を明日の朝に予約したい",
        "テストの依頼です",
        "請求書の書き方を知りたいのですが",
    )
    share = data(
        of("t:1", held + "。", "短い", own + "！"),
        of("t:2", "駅までの道を教えてもらえますか", "駅までの道を教えてもらえますか。", evaluated),
        evaluated=[of("h:1", evaluated)],
    )
    requests = {r.id: r for r in (request_of(), request_of(id="t:2", text="駅はどこ"))}
    wordings = list(read_wordings(share, requests))
    kept, report = fit_wordings(
        wordings, [r.text for r in requests.values()], [held, *evaluated_texts(share)]
    )
    assert [w.request.text for w in kept] == ["駅までの道を教えてもらえますか"]
    assert (report.read, report.kept) == (6, 1)
    assert report.drops == {"duplicate": 2, "leak": 2, "too_short": 1}


def test_a_wording_near_one_that_leaked_is_no_duplicate_of_it(data, request_of):
    """What was dropped takes nothing else with it: the second is near the first, and not near enough to what is held out."""
    held = "来週の出張の宿を二泊分だけ予約してください"
    first, second = held + "お願い", held + "お願いします。急ぎ"
    assert jaccard(shingles(held), shingles(first)) >= THRESHOLD > jaccard(shingles(held), shingles(second))
    assert jaccard(shingles(first), shingles(second)) >= THRESHOLD
    wordings = list(read_wordings(data(of("t:1", first, second)), {"t:1": request_of()}))
    kept, report = fit_wordings(wordings, [], [held])
    assert [w.request.text for w in kept] == [second]
    assert report.drops == {"leak": 1}


def test_the_bundled_paraphrases_are_of_real_training_requests(assembled, share):
    _, splits = assembled
    lines = [json.loads(x) for x in (share / "data/paraphrases/train.jsonl").read_text("utf-8").splitlines()]
    real = {e.meta["request"]: e for e in splits["train"] if not (e.meta["variant"] or e.meta["pair"])}
    assert {line["of"] for line in lines} <= real.keys()
    assert len({line["of"] for line in lines}) == len(lines) > 1000
    assert all(len(line["texts"]) == 2 for line in lines)
    rows = reworded(splits["train"])
    assert Counter(e.meta["request"] for e in rows) <= Counter({line["of"]: 2 for line in lines})
    for e in rows:
        own = real[e.meta["request"]]
        assert (e.label, e.group) == (own.label, own.group)
        assert all(e.meta[k] == own.meta[k] for k in ("source", "licence", "policy_ref", "lang"))
        assert e.meta["text"] != own.meta["text"]
        assert e.state.endswith(f"\n{e.meta['text']}")
    assert len({e.id for e in rows}) == len(rows)


def test_no_paraphrase_is_near_an_evaluated_wording_or_an_unseen_row(assembled, share):
    manifest, splits = assembled
    report = next(s for s in manifest.sources if s.source == reword.FOLDER)
    rows = [e.meta["text"] for e in reworded(splits["train"])]
    assert (report.kept, report.read) == (len(rows), report.kept + sum(report.drops.values()))
    real = [e.meta["text"] for n in ("calibration", "holdout") for e in splits[n] if not e.meta["pair"]]
    unseen = [shingles(t) for t in (*real, *evaluated_texts(share / "data"))]
    assert all(jaccard(shingles(t), other) < THRESHOLD for t in rows for other in unseen)


def test_paraphrases_move_no_other_row(share, assembled, monkeypatch):
    for reader in ("read_wordings", "read_own"):
        monkeypatch.setattr(gateset, reader, lambda *_: iter(()))
    _, without = gateset.assemble(share)
    _, splits = assembled
    assert all(without[name] == splits[name] for name in ("calibration", "holdout", "evaluation"))
    bare = [e for e in splits["train"] if e.meta["pair"] or not e.meta["variant"]]
    assert bare == without["train"]
