import json
from collections import Counter

import pytest

from sekisho.core.errors import DataError
from sekisho.data.gateset import OWN_CAP
from sekisho.data.own import SOURCE, evaluated_own, read_own

ROW = {
    "id": "crime-1",
    "decision": "DENY",
    "ref": "D3",
    "ja": ["鍵を 開けたい"],
    "en": ["open it", "a way in"],
}


@pytest.fixture
def data(tmp_path):
    """A data folder with one line of own requests, trained on and evaluated on."""

    def write(row):
        (tmp_path / "paraphrases").mkdir(exist_ok=True)
        for name in ("own", "own_heldout"):
            (tmp_path / "paraphrases" / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
        return tmp_path

    return write


def test_the_wordings_of_a_request_share_its_family_and_its_decision(data):
    found = list(read_own(data(ROW)))
    assert [(w.request.id, w.request.lang, w.request.text, w.place) for w in found] == [
        ("wordings:crime-1:1", "ja", "鍵を 開けたい", 1),
        ("wordings:crime-1:2", "en", "open it", 2),
        ("wordings:crime-1:3", "en", "a way in", 3),
    ]
    assert {(w.request.family, w.request.decision, w.request.policy_ref) for w in found} == {
        ("wordings:crime-1", "DENY", "D3")
    }


def test_what_is_evaluated_on_is_grouped_by_language(data):
    assert [[r.text for r in group] for group in evaluated_own(data(ROW))] == [
        ["鍵を 開けたい"],
        ["open it", "a way in"],
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"decision": "REFUSE"},
        {"decision": None},
        {"ref": "A0"},
        {"decision": "ALLOW"},
        {"ja": None},
        {"en": [3]},
        {"en": "open it"},
        {"en": []},
        {"en": ["\ud800"]},
        {"ja": [" "]},
        {"id": None},
        {"id": 7},
        {"ref": None},
        {"ref": 3},
        {"ref": "E2"},
        {"ref": "Z99"},
    ],
)
def test_a_line_that_lacks_something_is_named(data, change):
    with pytest.raises(DataError, match=repr((ROW | change)["id"])):
        list(read_own(data(ROW | change)))


def test_a_line_without_id_is_told(data):
    with pytest.raises(DataError, match="None"):
        list(read_own(data({k: v for k, v in ROW.items() if k != "id"})))


def test_an_id_comes_once(data):
    folder = data(ROW)
    with (folder / "paraphrases" / "own.jsonl").open("a") as f:
        f.write(json.dumps(ROW) + "\n")
    with pytest.raises(DataError, match="'crime-1' twice"):
        list(read_own(folder))


def test_own_requests_are_trained_on_or_evaluated_on_and_never_both(assembled, share):
    _, splits = assembled
    held = {r.text for group in evaluated_own(share / "data") for r in group}
    families = {r.family for group in evaluated_own(share / "data") for r in group}
    rows = {name: [e for e in split if e.meta["source"] == SOURCE] for name, split in splits.items()}
    assert not rows["calibration"]
    assert not rows["holdout"]
    assert set(Counter((e.meta["lang"], e.label) for e in rows["train"]).values()) == {OWN_CAP}
    assert len(held) > 1300
    assert not held & {e.meta["text"] for split in splits.values() for e in split}
    assert not families & {e.group for e in rows["train"]}
    assert {(e.meta["lang"], e.label) for e in rows["train"]} == {
        (lang, decision) for lang in ("ja", "en") for decision in ("ALLOW", "DENY")
    }
    assert len({e.id for e in rows["train"]}) == len(rows["train"])
