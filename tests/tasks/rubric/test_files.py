from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from sekisho.core.errors import DataError, NotFoundError
from sekisho.tasks.policy import read_document
from sekisho.tasks.rubric import files
from sekisho.tasks.rubric.lint import read_pack
from sekisho.tasks.rubric.pack import Criterion, load_pack

from .makers import SHARE, document

SMALL = document([(["p"], "s", 1), (["q"], "s", 2)], {"p": ["s"], "q": ["s"]}, ["s"])


def written(folder: Path, text: str | bytes, name: str = "mine.yaml") -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(folder / name)


@pytest.mark.parametrize("name", ["intake", "kotaro"])
@pytest.mark.parametrize("ending", ["yaml", "yml"])
def test_a_pack_that_ships_is_the_same_pack_in_yaml(tmp_path, name, ending):
    shipped = read_document(files.folder(SHARE) / f"{name}.toml")
    for flow in (None, True):
        text = yaml.safe_dump(shipped, allow_unicode=flow is None, default_flow_style=flow)
        path = written(tmp_path, text, f"mine.{ending}")
        assert read_pack(path, SHARE).digest() == read_pack(name, SHARE).digest()


def test_a_pack_of_any_ending_has_a_name_under_the_share(tmp_path):
    for ending in ("yaml", "yml"):
        written(files.folder(tmp_path), json.dumps(SMALL), f"of_{ending}.{ending}")
    shutil.copy(files.folder(SHARE) / "intake.toml", files.folder(tmp_path))
    assert files.names(tmp_path) == ["intake", "of_yaml", "of_yml"]
    assert load_pack("of_yaml", tmp_path) == load_pack("of_yml", tmp_path)
    with pytest.raises(NotFoundError, match="intake, of_yaml, of_yml"):
        load_pack("other", tmp_path)
    with pytest.raises(NotFoundError, match=r"other\.yaml"):
        load_pack("other.yaml", tmp_path)


def test_two_files_of_one_name_are_not_chosen_between(tmp_path):
    for ending in ("toml", "yaml"):
        written(files.folder(tmp_path), "", f"mine.{ending}")
    with pytest.raises(DataError, match=r"Both mine\.toml and mine\.yaml"):
        load_pack("mine", tmp_path)


def test_wrong_keys_are_told_as_in_toml(tmp_path):
    told = []
    for name, text in (("a.toml", "name = 'x'\nextra = 1\n"), ("a.yaml", "name: x\nextra: 1\n")):
        with pytest.raises(DataError) as error:
            load_pack(written(tmp_path, text, name), tmp_path)
        told.append(str(error.value).replace(name, ""))
    assert told[0] == told[1]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("name: a\nname: b", "line 2: the key 'name' stands twice"),
        ("title: {ja: a, ja: b}", "stands twice"),
        ("no: a", "line 1: YAML reads 'no' as bool"),
        ("a: 1\non: b", "line 2: YAML reads 'on' as bool"),
        ("2026-01-31: a", "as timestamp"),
        ("1: a", "line 1: a key is no text"),
        ("~: a", "a key is no text"),
        ("[a, b]: c", "a key is no text"),
        ("<<: {a: 1}", "as merge"),
        ("ja: yes", "as bool"),
        ("version: 2026-01-31", "as timestamp"),
        ("weight: 010", "as int"),
        ("weight: 1:30", "as int"),
        ("weight: 1_0", "as int"),
        ("threshold: .nan", "as float"),
        ("a: &x b", "anchors and aliases"),
        ("a: &x [1]\nb: [*x, *x]", "anchors and aliases"),
        ("a: *x", "anchors and aliases"),
        ("a: !!python/object/apply:os.system [x]", "tags are not read"),
        ("a: !!str 1", "tags are not read"),
        ("a: 1\n---\nb: 2", "a second document"),
        ("[" * 100_000, "levels"),
        ("a:\n " + "- " * 50_000, "levels"),
        ("a: [", "mine.yaml cannot be read"),
        ("a: \x00", "mine.yaml cannot be read"),
        ('a: "\\ud800"', "surrogates"),
        ('a: "\\U00110000"', "mine.yaml cannot be read"),
        (b"a: \xff", "mine.yaml cannot be read"),
        ("", "no mapping"),
        ("- a", "no mapping"),
        ("a", "no mapping"),
        (" " * (files.LARGEST + 1), "larger than 512 KiB"),
    ],
    ids=lambda x: repr(x)[:40],
)
def test_what_could_be_misread_is_refused_in_one_message(tmp_path, text, what):
    with pytest.raises(DataError) as error:
        load_pack(written(tmp_path, text), tmp_path)
    assert what in error.value.what
    assert "\n" not in error.value.what


def test_a_toml_file_has_the_same_bound(tmp_path):
    with pytest.raises(DataError, match="larger than 512 KiB"):
        load_pack(written(tmp_path, "#" * (files.LARGEST + 1), "mine.toml"), tmp_path)


def test_only_files_are_packs(tmp_path):
    place = files.folder(tmp_path)
    (place / "old.yaml").mkdir(parents=True)
    (place / ".#mine.toml").symlink_to("nobody@nowhere")
    assert files.names(tmp_path) == []


def test_a_threshold_is_a_number():
    with pytest.raises(ValidationError):
        Criterion.model_validate({**read_pack("intake", SHARE).criteria[0].model_dump(), "threshold": "5e-1"})
