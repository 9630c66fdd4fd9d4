from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from sekisho.core.errors import DataError
from sekisho.data.nli import LICENCES, PARTS, TAUGHT, pairs_digest, read_pairs, split_pairs

DATA = Path(__file__).parents[2] / "data"
ROWS = {"jnli": 2423, "jsick": 4946, "esnli": 9840, "janli": 13610}


@pytest.mark.parametrize("source", ROWS)
def test_every_set_is_read_whole(source):
    found = read_pairs(DATA, [source])
    assert len(found) == ROWS[source]
    assert len({p.id for p in found}) == len(found)
    assert all(p.premise and p.hypothesis and p.source == source for p in found)
    assert len({p.label for p in found}) == (2 if source == "janli" else 3)
    assert set(ROWS) == set(LICENCES)


def test_no_sentence_is_on_both_sides():
    splits = split_pairs(read_pairs(DATA))
    texts = [{t for p in splits[name] for t in (p.premise, p.hypothesis)} for name in PARTS]
    assert not texts[0] & texts[2]
    assert not texts[0] & texts[1]
    assert not texts[1] & texts[2]
    assert Counter(p.source for p in splits["holdout"]).keys() == set(TAUGHT)
    assert len(splits["train"]) > 12_000


def test_the_digest_sees_labels():
    some = read_pairs(DATA, ["jnli"])[:5]
    other = [
        some[0].model_copy(update={"label": "supports" if some[0].label != "supports" else "refutes"}),
        *some[1:],
    ]
    assert pairs_digest(some) != pairs_digest(other)


def test_what_is_missing_or_torn_is_named(tmp_path):
    with pytest.raises(DataError, match="no set"):
        read_pairs(DATA, ["mnli"])
    with pytest.raises(DataError, match="cannot be read"):
        read_pairs(tmp_path, ["janli"])
    shutil.copytree(DATA / "nli" / "janli", tmp_path / "nli" / "janli")
    file = tmp_path / "nli" / "janli" / "janli_train.tsv.gz"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(DataError, match="cannot be read"):
        read_pairs(tmp_path, ["janli"])
