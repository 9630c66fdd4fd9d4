from __future__ import annotations

import hashlib
import json
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.core.canonical import (
    canonical_json,
    digest,
    digest_file,
    digest_json,
    digest_text,
    folder_digest,
    model_digest,
    new_id,
    short,
    utc_now,
)

TEXT = st.text(st.characters(exclude_categories=("Cs",)))
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
VALUES = st.recursive(SCALARS, lambda v: st.lists(v) | st.dictionaries(TEXT, v), max_leaves=20)


@given(VALUES)
def test_canonical_json_reads_back(value):
    assert json.loads(canonical_json(value)) == value


@given(st.dictionaries(TEXT, VALUES), st.randoms())
def test_key_order_does_not_matter(value, random):
    keys = list(value)
    random.shuffle(keys)
    assert canonical_json({k: value[k] for k in keys}) == canonical_json(value)


@given(VALUES)
def test_it_is_a_fixed_point(value):
    once = canonical_json(value)
    assert canonical_json(json.loads(once)) == once


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", {"a": [float("-inf")]}])
def test_what_json_cannot_carry_is_refused(value):
    with pytest.raises(ValueError):
        canonical_json(value)


def test_the_form_is_the_documented_one():
    assert canonical_json({"b": [1, None], "a": "関所 "}) == '{"a":"関所 ","b":[1,null]}'.encode()


def test_unicode_forms_stay_distinct():
    composed, decomposed = "が", unicodedata.normalize("NFD", "が")
    assert digest_text(composed) != digest_text(decomposed)


@given(st.binary(max_size=200))
def test_digests_are_tagged_sha256(data):
    assert digest(data) == "sha256:" + hashlib.sha256(data).hexdigest()
    assert digest(data)[7:19] == short(digest(data))


def test_json_and_text_digests_are_of_their_bytes():
    assert digest_json("x") == digest(b'"x"')
    assert digest_text("x") == digest(b"x")


@given(st.dictionaries(st.sampled_from(["a", "b/c", "b/d", "e"]), st.binary(max_size=9), min_size=1))
def test_a_folder_digest_sees_names_and_bytes(tmp_path_factory, files):
    root = tmp_path_factory.mktemp("folder")
    for name, data in files.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(data)
    before = folder_digest(root)
    assert before == digest_json({name: digest(data) for name, data in files.items()})
    some = root / next(iter(files))
    assert digest_file(some) == digest(some.read_bytes())
    some.write_bytes(some.read_bytes() + b"x")
    changed = folder_digest(root)
    assert changed != before
    some.rename(root / "other")
    assert folder_digest(root) not in {before, changed}


def test_times_and_ids_sort_and_differ():
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", utc_now())
    ids = [new_id("jdg") for _ in range(200)]
    assert len(set(ids)) == 200
    assert all(re.fullmatch(r"jdg_[0-9a-f]{32}", i) for i in ids)
    assert [i[:16] for i in ids] == sorted(i[:16] for i in ids)


def test_a_model_is_its_config_weights_and_tokenizer_and_nothing_else(tmp_path) -> None:
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (tmp_path / name).write_text(name)
    before = model_digest(tmp_path)
    (tmp_path / "README.md").write_text("x")
    (tmp_path / "made.json").write_text("{}")
    assert model_digest(tmp_path) == before
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (tmp_path / name).write_text("other")
        assert model_digest(tmp_path) != before
        (tmp_path / name).write_text(name)


def test_only_a_line_feed_ends_a_line_of_json():
    from sekisho.core.canonical import json_lines

    assert json_lines('{"a": "b\u2028c\u0085d"}\r\n\n2\n\n \n') == ['{"a": "b\u2028c\u0085d"}\r', "", "2"]
    assert json_lines("") == json_lines("\n") == []
